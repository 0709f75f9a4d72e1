//! What a `PromQL` expression asks for: its metrics with their label matchers, and the labels that it groups by.
//! Prometheus itself has parsed the expression before; this only takes it apart.

/// `metric{label="value"}`.
#[derive(Debug, PartialEq, Eq)]
pub struct Selector {
    pub metric: String,
    pub matchers: Vec<Matcher>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Matcher {
    pub label: String,
    pub operator: String,
    pub value: String,
}

/// Words that are followed by labels in parentheses.
const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words that stand where a metric could.
const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];

/// The selectors of `expr`, and the labels that it groups or joins by.
pub fn selectors(expr: &str) -> (Vec<Selector>, Vec<String>) {
    let (mut found, mut labels) = (Vec::new(), Vec::new());
    let mut rest = expr;
    while let Some(next) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if next == '[' {
            rest = &rest[rest.find(']').expect("a range ends") + 1..];
        } else if next.is_ascii_digit() || next == '.' {
            rest = rest.trim_start_matches(|c: char| is_word(c) || c == '.');
        } else if is_word(next) {
            let (word, after) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
            rest = after.trim_start();
            if GROUPING.contains(&word) {
                let (inside, after) = rest.strip_prefix('(').unwrap().split_once(')').unwrap();
                labels.extend(inside.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()));
                rest = after;
            } else if !OPERATORS.contains(&word) && !rest.starts_with('(') && !precedes_grouping(rest) {
                let matchers;
                (matchers, rest) = matchers_of(rest);
                found.push(Selector { metric: word.to_owned(), matchers });
            }
        } else {
            rest = &rest[next.len_utf8()..];
        }
    }
    (found, labels)
}

/// `sum by (…) (…)`: the word before was an aggregation.
fn precedes_grouping(rest: &str) -> bool {
    ["by", "without"].iter().any(|word| rest.strip_prefix(word).is_some_and(|rest| rest.trim_start().starts_with('(')))
}

fn matchers_of(rest: &str) -> (Vec<Matcher>, &str) {
    let Some(mut rest) = rest.strip_prefix('{') else { return (Vec::new(), rest) };
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ', '\n']);
        if let Some(after) = rest.strip_prefix('}') {
            return (all, after);
        }
        let (head, after) = rest.split_once('"').expect("a value is quoted");
        let (value, after) = after.split_once('"').expect("a quote ends");
        let at = head.find(['=', '!']).expect("an operator");
        let (label, operator) = (head[..at].trim().to_owned(), head[at..].trim().to_owned());
        all.push(Matcher { label, operator, value: value.to_owned() });
        rest = after;
    }
}

#[test]
fn an_expression_is_taken_apart() {
    let (found, labels) = selectors(
        r#"histogram_quantile(0.95, sum by (job, le) (rate(a_bucket{x="1",y!~"2|3"}[10m]))) > 5e3
           and on () time() - max(b:c) == 1 unless on (job) d offset 5m"#,
    );
    let names: Vec<&str> = found.iter().map(|selector| selector.metric.as_str()).collect();
    assert_eq!((names, labels), (vec!["a_bucket", "b:c", "d"], vec!["job".into(), "le".into(), "job".into()]));
    let of = |label: &str, operator: &str, value: &str| Matcher {
        label: label.to_owned(),
        operator: operator.to_owned(),
        value: value.to_owned(),
    };
    assert_eq!(found[0].matchers, [of("x", "=", "1"), of("y", "!~", "2|3")]);
}
