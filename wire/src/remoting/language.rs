//! What a peer says it is written in.

/// Language of a peer: a name in JSON headers, a number in binary ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    Java,
    Cpp,
    DotNet,
    Python,
    Delphi,
    Erlang,
    Ruby,
    /// Also every name and number that we do not know.
    Other,
    Http,
    Go,
    Php,
    Oms,
    Rust,
    NodeJs,
}

const ALL: [(Language, &str); 14] = [
    (Language::Java, "JAVA"),
    (Language::Cpp, "CPP"),
    (Language::DotNet, "DOTNET"),
    (Language::Python, "PYTHON"),
    (Language::Delphi, "DELPHI"),
    (Language::Erlang, "ERLANG"),
    (Language::Ruby, "RUBY"),
    (Language::Other, "OTHER"),
    (Language::Http, "HTTP"),
    (Language::Go, "GO"),
    (Language::Php, "PHP"),
    (Language::Oms, "OMS"),
    (Language::Rust, "RUST"),
    (Language::NodeJs, "NODE_JS"),
];

impl Language {
    pub fn name(self) -> &'static str {
        ALL[self as usize].1
    }
    /// The language of that name; [`Language::Other`] if it is not known.
    pub fn of_name(name: &str) -> Self {
        let found = ALL.iter().find(|(_, known)| *known == name);
        found.map_or(Self::Other, |(language, _)| *language)
    }
    pub fn number(self) -> u8 {
        self as u8
    }
    /// The language of that number; [`Language::Other`] if it is not known.
    pub fn of_number(number: u8) -> Self {
        ALL.get(usize::from(number))
            .map_or(Self::Other, |(language, _)| *language)
    }
}

const _: () = {
    let mut number = 0;
    while number < ALL.len() {
        assert!(
            ALL[number].0 as usize == number,
            "the table is in order of numbers"
        );
        number += 1;
    }
};
