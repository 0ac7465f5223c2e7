//! Where an AMQP broker is, as `amqp://user:password@host:port/vhost`.

use percent_encoding::percent_decode_str;
use std::fmt;
use std::str::FromStr;

/// The parts of an AMQP URL, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpUrl {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Vhost.
    pub vhost: String,
}

/// What an AMQP URL must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: it must be amqp://user:password@host:port/vhost, with %2f for a slash in the vhost")]
pub struct BadUrl(&'static str);

impl AmqpUrl {
    /// `host:port`, to connect to.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }
}

impl FromStr for AmqpUrl {
    type Err = BadUrl;

    /// User and password default to `guest`, the port to 5672, the vhost to `/`.
    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if text.starts_with("amqps://") {
            return Err(BadUrl("TLS is not supported here"));
        }
        let rest = text
            .strip_prefix("amqp://")
            .ok_or(BadUrl("the URL does not begin with amqp://"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, "%2f"));
        let (login, place) = authority.rsplit_once('@').unwrap_or(("guest:guest", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                port.parse()
                    .map_err(|_| BadUrl("the port is no number from 0 to 65535"))?,
            ),
            _ => (place, 5672),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(BadUrl("the host is missing"));
        }
        Ok(Self {
            user: decoded(user)?,
            password: decoded(password)?,
            host: host.to_owned(),
            port,
            vhost: if path.is_empty() {
                "/".to_owned()
            } else {
                decoded(path)?
            },
        })
    }
}

fn decoded(text: &str) -> Result<String, BadUrl> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(Into::into)
        .map_err(|_| BadUrl("a part of the URL is not UTF-8"))
}

/// Without the password: this is what error texts show.
impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "amqp://{}@{} (vhost '{}')", self.user, self.address(), self.vhost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, String, u16, String) {
        let url: AmqpUrl = text.parse().unwrap();
        (url.user, url.password, url.host, url.port, url.vhost)
    }

    fn expect(text: &str, user: &str, password: &str, host: &str, port: u16, vhost: &str) {
        let expected = (user.into(), password.into(), host.into(), port, vhost.into());
        assert_eq!(parts(text), expected, "{text}");
    }

    #[test]
    fn urls_are_taken_apart() {
        expect("amqp://a:b@h:1/v", "a", "b", "h", 1, "v");
        expect("amqp://h", "guest", "guest", "h", 5672, "/");
        expect("amqp://h/", "guest", "guest", "h", 5672, "/");
        expect("amqp://u%40x:p%3a@h/%2f", "u@x", "p:", "h", 5672, "/");
        expect("amqp://[::1]:5/x%2Fy", "guest", "guest", "::1", 5, "x/y");
        expect("amqp://[::1]/x", "guest", "guest", "::1", 5672, "x");
        let url: AmqpUrl = "amqp://a:secret@[::1]".parse().unwrap();
        assert_eq!(url.to_string(), "amqp://a@[::1]:5672 (vhost '/')");
    }

    #[test]
    fn bad_urls_are_refused() {
        for text in [
            "",
            "http://h",
            "amqps://h",
            "amqp://",
            "amqp://h:port",
            "amqp://u@:5672",
            "amqp://%ff@h",
        ] {
            assert!(text.parse::<AmqpUrl>().is_err(), "{text}");
        }
    }
}
