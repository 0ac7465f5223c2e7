//! The specification file, read.

const SPEC: &str = include_str!("../../spec/amqp-0-9-1.txt");

/// A class.
pub(crate) struct Class {
    pub(crate) name: &'static str,
    pub(crate) id: u16,
    pub(crate) methods: Vec<Method>,
}

/// A method.
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) id: u16,
    pub(crate) fields: Vec<(&'static str, &'static str)>,
}

/// Every class, in the file's order.
pub(crate) fn classes() -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    for line in SPEC.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split(' ');
        let first = words.next().unwrap();
        if first == "class" {
            let name = words.next().unwrap();
            let id = words.next().unwrap().parse().unwrap();
            classes.push(Class {
                name,
                id,
                methods: Vec::new(),
            });
        } else {
            let id = words.next().unwrap().parse().unwrap();
            let fields = words.map(|field| field.split_once(':').unwrap()).collect();
            classes.last_mut().unwrap().methods.push(Method {
                name: first,
                id,
                fields,
            });
        }
    }
    classes
}
