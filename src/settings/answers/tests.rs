use super::super::Settings;
use super::*;

fn read(rules: &str) -> Result<Vec<AnswerRule>, String> {
    let set = [
        ("ASSET_ERASER__PROVIDER__TOKEN", "x"),
        ("ASSET_ERASER__GUARD__NONE", "true"),
        ("ASSET_ERASER__PROVIDER__ANSWERS", rules),
    ];
    let set = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Settings::load(None, set).map(|settings| settings.provider.answers).map_err(|error| error.to_string())
}

#[test]
fn rules_are_read_from_a_file_and_from_a_variable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    let text = "[guard]\nnone = true\n[provider]\ntoken = 'x'\n[[provider.answers]]\noperation = 'detail'\nstatus = 404\n\
                code = 'NotFound.asset_id'\nmeans = 'gone'\n[[provider.answers]]\nstatus = '5xx'\nmessage = 'busy'\nmeans = 'later'\n";
    std::fs::write(&path, text).unwrap();
    let from_file = Settings::load(Some(&path), []).unwrap().provider.answers;
    let json = r#"[{"operation":"detail","status":"404","code":"NotFound.asset_id","means":"gone"},
                   {"status":"500-599","message":"busy","means":"later"}]"#;
    assert_eq!(read(json).unwrap(), from_file);
    assert_eq!(from_file[1].status, StatusRange::parse("5xx"));
}

#[test]
fn a_wrong_rule_is_named() {
    for (rules, part) in [
        (r#"[{"means":"gone"}]"#, "rule 1: needs a condition"),
        (r#"[{"status":404,"means":"gone"},{"status":"4x","means":"gone"}]"#, "rule 2: status: must be such as 404"),
        (r#"[{"status":"300-200","means":"gone"}]"#, "rule 1: status"),
        (r#"[{"status":99,"means":"gone"}]"#, "rule 1: status"),
        (r#"[{"status":"4xx","means":"found"}]"#, "rule 1: status: what means \"found\""),
        (r#"[{"code":"","means":"gone"}]"#, "rule 1: code: must not be empty"),
        (r#"[{"operation":"delete","asset_status":"x","means":"gone"}]"#, "rule 1: asset_status"),
        (r#"[{"status":404,"means":"deleted"}]"#, "unknown variant `deleted`"),
        (r#"[{"status":404,"meanz":"gone"}]"#, "unknown field `meanz`"),
        (r#"[{"status":404}]"#, "missing field `means`"),
        ("404", "expected a sequence"),
        ("[{", "as a JSON list"),
    ] {
        let error = read(rules).unwrap_err();
        assert!(error.starts_with("provider.answers") && error.contains(part), "{rules}: {error}");
        assert!(error.contains("ASSET_ERASER__PROVIDER__ANSWERS"), "{error}");
    }
}

#[test]
fn statuses_are_read() {
    for (text, holds, not) in [("404", 404, 405), ("4xx", 499, 500), ("200-299", 299, 300), ("500 - 502", 502, 503)] {
        let range = StatusRange::parse(text).unwrap();
        assert!(range.contains(holds) && !range.contains(not), "{text}");
    }
    for bad in ["", "x", "4XX", "0xx", "6xx", "40", "1000", "-", "200-", "-299", "+200"] {
        assert_eq!(StatusRange::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_wrong_word_in_a_file_says_in_which_rule() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    let rule = |means: &str| format!("[[provider.answers]]\nstatus = 404\nmeans = '{means}'\n");
    std::fs::write(&path, [rule("gone"), rule("deleted")].concat()).unwrap();
    let error = Settings::load(Some(&path), []).unwrap_err().to_string();
    assert!(error.starts_with(&format!("provider.answers[2].means ({}): unknown variant", path.display())), "{error}");
}
