//! A picture on a page that needs nothing else: lanes' names stay in sight, Ctrl and the wheel or the buttons zoom, and a
//! click on a row shows everything about its messages.

use super::Timeline;
use super::picture::{STYLE, escaped, parts};
use super::view::View;

const PAGE_STYLE: &str = "
body { margin: 0; background: #fff; color: #20262e; font: 14px system-ui, sans-serif; }
header { padding: 12px 16px 6px; } h1 { font-size: 16px; margin: 0 0 4px; } p { margin: 2px 0; max-width: 100ch; }
code { background: #f1f3f6; padding: 1px 4px; } .broken { color: #8e2018; font-weight: 600; }
#names { position: sticky; top: 0; background: #ffffffee; border-bottom: 1px solid #dde1e7; z-index: 1; }
#names svg, #body svg { display: block; }
.row { cursor: pointer; } .row:hover text { fill: #000; } .picked text { fill: #0a6b2c !important; font-weight: 700; }
.picked path, .picked line { stroke: #0a8a3a !important; stroke-width: 2.5; } .picked .tip { fill: #0a8a3a !important; }
button { margin-right: 6px; } .legend span { display: inline-block; width: 10px; height: 10px; margin: 0 4px 0 12px; }
";

const SCRIPT: &str = "
const pictures = [...document.querySelectorAll('#names svg, #body svg')];
const width = pictures[0].viewBox.baseVal.width;
let scale = 1;
function zoom(factor) {
  scale = Math.min(4, Math.max(0.2, scale * factor));
  for (const picture of pictures) {
    picture.setAttribute('width', width * scale);
    picture.setAttribute('height', picture.viewBox.baseVal.height * scale);
  }
}
document.getElementById('larger').onclick = () => zoom(1.25);
document.getElementById('smaller').onclick = () => zoom(0.8);
document.getElementById('failure').onclick = show;
addEventListener('wheel', event => {
  if (event.ctrlKey) { event.preventDefault(); zoom(event.deltaY < 0 ? 1.1 : 0.9); }
}, { passive: false });
const rows = [...document.querySelectorAll('.row')];
for (const row of rows) row.onclick = () => {
  const wanted = row.classList.contains('picked') ? [] : row.dataset.m.split(' ').filter(Boolean);
  for (const other of rows) {
    const about = other.dataset.m.split(' ').some(message => wanted.includes(message));
    other.classList.toggle('picked', about);
  }
};
function show() {
  const failure = document.querySelector('.failure');
  if (failure) failure.scrollIntoView({ block: 'center' });
}
";

/// The page.
#[must_use]
pub fn page(timeline: &Timeline, view: &View, title: &str, symptom: &str, replay: &str) -> String {
    let (names, body) = parts(timeline, view);
    let rows = view.rows.len();
    let left_out: usize = view.skipped.iter().sum();
    let (title, symptom, replay) = (escaped(title), escaped(symptom), escaped(replay));
    format!(
        "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}{PAGE_STYLE}</style></head>
<body><header><h1>{title}</h1><p class=\"broken\">{symptom}</p>
<p>Again: <code>{replay}</code>. {rows} rows are shown, {left_out} are left out (<code>--all</code> shows them).</p>
<p class=\"legend\"><button id=\"larger\">+</button><button id=\"smaller\">-</button><button id=\"failure\">to the failure</button>
the node is <span style=\"background:#cfe8d5\"></span>up <span style=\"background:#f6e3b4\"></span>recovering
<span style=\"background:#e8b9b4\"></span>down; the disk <span style=\"background:#5f8fd6\"></span>writes and syncs
<span style=\"background:#a9bfe0\"></span>writes <span style=\"background:#c3aede\"></span>reads
<span style=\"background:#e8b9b4;outline:1px solid #b3443a\"></span>was interrupted. Click a row for its messages, point at it for all
of it.</p></header>
<div id=\"names\">{names}</div><div id=\"body\">{body}</div><script>{SCRIPT}</script></body></html>
"
    )
}
