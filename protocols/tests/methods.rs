//! Writes `src/amqp/methods/` from `spec/amqp-0-9-1.txt`, or fails if what is there is not what it would write.
//!
//! To write: `WAYSTATION_WRITE=1 cargo test -p waystation-protocols --test methods`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a generator, as a test, reads and writes files"
)]

mod spec;

use spec::{Class, Method};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const NOTE: &str = "// Written by `tests/methods.rs` from `spec/amqp-0-9-1.txt`: change those, not this.\n\n";

#[test]
fn methods_are_those_of_the_specification() {
    let classes = spec::classes();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/amqp/methods");
    let mut files: Vec<_> = classes.iter().map(|class| (class.name, class_file(class))).collect();
    files.push(("mod", mod_file(&classes)));
    for (name, text) in files {
        let path = folder.join(format!("{name}.rs"));
        let text = rustfmt(&text);
        if std::env::var("WAYSTATION_WRITE").is_ok() {
            std::fs::write(&path, text).unwrap();
        } else {
            let present = std::fs::read(&path).unwrap_or_default();
            assert!(
                present == text.as_bytes(),
                "{} is stale: run with WAYSTATION_WRITE=1",
                path.display()
            );
        }
    }
}

fn class_file(class: &Class) -> String {
    let name = class.name;
    let fields = class.methods.iter().any(|method| !method.fields.is_empty());
    let (expect, wire) = if fields {
        (
            "#![expect(missing_docs, reason = \"fields are the specification's\")]\n\n",
            "self, ",
        )
    } else {
        ("", "")
    };
    let mut out = format!(
        "//! Class {name} ({}).\n\n{NOTE}{expect}\
         use super::super::wire::{{{wire}Malformed, Reader}};\nuse super::{{Encode, Method}};\nuse bytes::BytesMut;\n",
        class.id
    );
    for method in &class.methods {
        method_code(&mut out, class, method);
    }
    out
}

fn method_code(out: &mut String, class: &Class, method: &Method) {
    let (class_name, class_id, name, id) = (class.name, class.id, method.name, method.id);
    let kind = camel(name);
    let borrowed = method.borrowed();
    let (lifetime, any) = if borrowed { ("<'a>", "<'_>") } else { ("", "") };
    let reader = if borrowed { "Reader<'a>" } else { "Reader<'_>" };
    writeln!(out, "\n/// `{class_name}.{name}`").unwrap();
    writeln!(
        out,
        "#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]\npub struct {kind}{lifetime} {{"
    )
    .unwrap();
    for (field, ty) in method.fields.iter().filter(|(field, _)| *field != "_") {
        writeln!(out, "pub {}: {},", snake(field), rust_type(ty)).unwrap();
    }
    let (read, write) = (method.reading(), method.writing());
    let (reader_name, out_name) = (
        if method.fields.is_empty() { "_" } else { "reader" },
        if method.fields.is_empty() { "_" } else { "out" },
    );
    let names: Vec<_> = method
        .fields
        .iter()
        .filter(|(field, _)| *field != "_")
        .map(|(field, _)| snake(field))
        .collect();
    write!(
        out,
        "}}\nimpl{lifetime} {kind}{lifetime} {{\n\
         #[inline]\n         pub(in crate::amqp) fn read({reader_name}: &mut {reader}) -> Result<Self, Malformed> {{\n{read}Ok(Self {{ {} }})\n}}\n}}\n\
         impl Encode for {kind}{any} {{\nconst CLASS: u16 = {class_id};\nconst METHOD: u16 = {id};\n\
         #[inline]\nfn write(&self, {out_name}: &mut BytesMut) {{\n{write}}}\n}}\n\
         impl<'a> From<{kind}{lifetime}> for Method<'a> {{\nfn from(method: {kind}{lifetime}) -> Self {{\nSelf::{}{kind}(method)\n}}\n}}\n",
        names.join(", "),
        camel(class_name)
    )
    .unwrap();
}

fn mod_file(classes: &[Class]) -> String {
    let mut out = format!("//! Every method of the protocol, borrowed from a frame's payload.\n\n{NOTE}");
    for class in classes {
        writeln!(out, "pub mod {};", class.name).unwrap();
    }
    out.push_str(MOD_HEAD);
    let each = |out: &mut String, line: &dyn Fn(&Class, &Method) -> String| {
        for class in classes {
            for method in &class.methods {
                out.push_str(&line(class, method));
            }
        }
    };
    let path = |class: &Class, method: &Method| format!("{}::{}", class.name, camel(method.name));
    let variant = |class: &Class, method: &Method| format!("{}{}", camel(class.name), camel(method.name));
    out.push_str("/// Any method.\n#[derive(Clone, Copy, Debug, PartialEq, Eq)]\n#[expect(missing_docs, reason = \"class and method\")]\npub enum Method<'a> {\n");
    each(&mut out, &|c, m| {
        format!(
            "{}({}{}),\n",
            variant(c, m),
            path(c, m),
            if m.borrowed() { "<'a>" } else { "" }
        )
    });
    out.push_str("}\n\nimpl<'a> Method<'a> {\n");
    out.push_str(DECODE_HEAD);
    each(&mut out, &|c, m| {
        format!("({}, {}) => {}::read(reader)?.into(),\n", c.id, m.id, path(c, m))
    });
    out.push_str("_ => return Ok(None),\n}))\n}\n\n/// Appends class id, method id and fields.\npub fn encode(&self, out: &mut BytesMut) {\nmatch self {\n");
    each(&mut out, &|c, m| {
        format!("Self::{}(method) => method.encode(out),\n", variant(c, m))
    });
    out.push_str(
        "}\n}\n\n/// Class id and method id.\n#[must_use]\npub const fn ids(&self) -> (u16, u16) {\nmatch self {\n",
    );
    each(&mut out, &|c, m| {
        format!("Self::{}(_) => ({}, {}),\n", variant(c, m), c.id, m.id)
    });
    out.push_str("}\n}\n\n/// Class and method as the specification writes them.\n#[must_use]\npub const fn name(&self) -> &'static str {\nmatch self {\n");
    each(&mut out, &|c, m| {
        format!("Self::{}(_) => \"{}.{}\",\n", variant(c, m), c.name, m.name)
    });
    out.push_str("}\n}\n}\n");
    out
}

const MOD_HEAD: &str = "
use super::wire::{Malformed, Reader};
use bytes::BytesMut;

/// A method that can be written.
pub trait Encode {
    /// Class id.
    const CLASS: u16;
    /// Method id.
    const METHOD: u16;

    /// Appends the fields.
    ///
    /// # Panics
    /// If a short string is longer than 255 bytes; no decoded one is.
    fn write(&self, out: &mut BytesMut);

    /// Appends class id, method id and fields.
    ///
    /// # Panics
    /// As [`Encode::write`].
    fn encode(&self, out: &mut BytesMut) {
        let ids = (u32::from(Self::CLASS) << 16) | u32::from(Self::METHOD);
        out.extend_from_slice(&ids.to_be_bytes());
        self.write(out);
    }
}

";

const DECODE_HEAD: &str = "    /// Decodes the fields of method `method` of class `class`, all of `fields`; `Ok(None)` if there is no such method.
    /// Tables are bounded but not looked into.
    ///
    /// # Errors
    /// If the fields end early or late, or a short string is not UTF-8.
    pub fn decode(class: u16, method: u16, fields: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(fields);
        let decoded = Self::fields(class, method, &mut reader)?;
        if decoded.is_some() {
            reader.end()?;
        }
        Ok(decoded)
    }

    #[inline]
    fn fields(class: u16, method: u16, reader: &mut Reader<'a>) -> Result<Option<Self>, Malformed> {
        Ok(Some(match (class, method) {
";

impl Method {
    fn borrowed(&self) -> bool {
        self.fields
            .iter()
            .any(|(field, ty)| *field != "_" && rust_type(ty).starts_with('&'))
    }

    fn reading(&self) -> String {
        let mut out = String::new();
        let mut bit = 0;
        for (field, ty) in &self.fields {
            if *ty == "bit" {
                if bit % 8 == 0 {
                    let name = if *field == "_" { "" } else { "let bits = " };
                    writeln!(out, "{name}reader.octet()?;").unwrap();
                }
                if *field != "_" {
                    writeln!(out, "let {} = bits & {} != 0;", snake(field), 1 << (bit % 8)).unwrap();
                }
                bit += 1;
            } else if *field == "_" {
                writeln!(out, "reader.{ty}()?;").unwrap();
            } else {
                writeln!(out, "let {} = reader.{ty}()?;", snake(field)).unwrap();
            }
        }
        out
    }

    fn writing(&self) -> String {
        let mut out = String::new();
        let mut bits = Vec::new();
        for (field, ty) in &self.fields {
            if *ty == "bit" {
                let shift = bits.len() % 8;
                bits.push(match *field {
                    "_" => "0".into(),
                    _ if shift == 0 => format!("u8::from(self.{})", snake(field)),
                    _ => format!("(u8::from(self.{}) << {shift})", snake(field)),
                });
                continue;
            }
            flush_bits(&mut out, &mut bits);
            match (*field, *ty) {
                ("_", "octet" | "short" | "long" | "longlong") => writeln!(out, "wire::{ty}(out, 0);").unwrap(),
                ("_", "shortstr") => writeln!(out, "wire::shortstr(out, \"\");").unwrap(),
                ("_", _) => writeln!(out, "wire::{ty}(out, b\"\");").unwrap(),
                _ => writeln!(out, "wire::{ty}(out, self.{});", snake(field)).unwrap(),
            }
        }
        flush_bits(&mut out, &mut bits);
        out
    }
}

fn flush_bits(out: &mut String, bits: &mut Vec<String>) {
    for octet in bits.chunks(8) {
        writeln!(out, "wire::octet(out, {});", octet.join(" | ")).unwrap();
    }
    bits.clear();
}

fn rust_type(ty: &str) -> &'static str {
    match ty {
        "bit" => "bool",
        "octet" => "u8",
        "short" => "u16",
        "long" => "u32",
        "longlong" => "u64",
        "shortstr" => "&'a str",
        "bytes" | "longstr" | "table" => "&'a [u8]",
        other => panic!("unknown type {other}"),
    }
}

fn snake(name: &str) -> String {
    if name == "type" {
        "kind".into()
    } else {
        name.replace('-', "_")
    }
}

fn camel(name: &str) -> String {
    name.split('-')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}

fn rustfmt(text: &str) -> String {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config", "max_width=120,style_edition=2024"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "rustfmt refused:\n{text}");
    String::from_utf8(output.stdout).unwrap()
}
