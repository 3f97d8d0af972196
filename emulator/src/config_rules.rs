//! What may stand in an environment's `config`, and how an update changes it. Pure.
//!
//! Fields that are not known here pass through as they are, in the order given, so that clients of a newer API can be tried.
//! One rule covers create and update: absent keeps what was there, or else takes the default; `null` takes the default.

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

const PACKAGE_LISTS: [&str; 6] = ["apt", "cargo", "gem", "go", "npm", "pip"];

/// Why a config is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// Something in it is wrong.
    Invalid(String),
    /// `type` differs from what it was.
    TypeChange,
}

fn invalid<T>(message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid(message.into()))
}

/// The config of a new environment; `None` and `null` mean a cloud environment with the defaults.
pub fn create(given: Option<&Value>) -> Result<Value, ConfigError> {
    match given {
        None | Some(Value::Null) => Ok(default_cloud()),
        Some(given) => merge(None, given),
    }
}

/// The config after an update; `null` means the defaults of the same type.
pub fn update(current: &Value, given: &Value) -> Result<Value, ConfigError> {
    let current = current.as_object().cloned().unwrap_or_default();
    match given {
        Value::Null if current.get("type") == Some(&json!("self_hosted")) => Ok(json!({"type": "self_hosted"})),
        Value::Null => Ok(default_cloud()),
        given => merge(Some(&current), given),
    }
}

/// Whether work for this environment goes to the queue.
pub fn is_self_hosted(config: &Value) -> bool {
    config["type"] == "self_hosted"
}

fn default_cloud() -> Value {
    json!({"networking": default_networking(), "packages": default_packages(), "type": "cloud"})
}

fn default_networking() -> Value {
    json!({"type": "unrestricted"})
}

fn default_packages() -> Value {
    json!({"apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": [], "type": "packages"})
}

fn merge(current: Option<&Object>, given: &Value) -> Result<Value, ConfigError> {
    let Value::Object(given) = given else {
        return invalid("config: must be an object");
    };
    let old_type = current.and_then(|current| current.get("type"));
    let new_type = given.get("type").or(old_type);
    match new_type.and_then(Value::as_str) {
        Some("cloud" | "self_hosted") => {}
        _ => return invalid("config.type: must be \"cloud\" or \"self_hosted\""),
    }
    if old_type.is_some() && old_type != new_type {
        return Err(ConfigError::TypeChange);
    }
    let cloud = new_type == Some(&json!("cloud"));

    let mut config = current.cloned().unwrap_or_default();
    for (key, value) in given {
        let old = current.and_then(|current| current.get(key));
        let value = match key.as_str() {
            "networking" if cloud => networking(old.and_then(Value::as_object), value)?,
            "packages" if cloud => packages(old.and_then(Value::as_object), value)?,
            _ => value.clone(),
        };
        config.insert(key.clone(), value);
    }
    if cloud {
        default_to(&mut config, "networking", default_networking());
        default_to(&mut config, "packages", default_packages());
    }
    Ok(Value::Object(config))
}

fn networking(current: Option<&Object>, given: &Value) -> Result<Value, ConfigError> {
    let given = match given {
        Value::Null => return Ok(default_networking()),
        Value::Object(given) => given,
        _ => return invalid("config.networking: must be an object"),
    };
    let old_type = current.and_then(|current| current.get("type"));
    let new_type = given.get("type").or(old_type);
    let limited = match new_type.and_then(Value::as_str) {
        Some("limited") => true,
        Some("unrestricted") => false,
        _ => return invalid("config.networking.type: must be \"limited\" or \"unrestricted\""),
    };
    // Another policy starts afresh: what the old one allowed means nothing in the new one.
    let mut networking = match current {
        Some(current) if old_type == new_type => current.clone(),
        _ => Object::new(),
    };
    for (key, value) in given {
        let value = match (key.as_str(), value) {
            ("allow_mcp_servers" | "allow_package_managers", Value::Null) if limited => json!(false),
            ("allowed_hosts", Value::Null) if limited => json!([]),
            ("allow_mcp_servers" | "allow_package_managers", value) if limited && !value.is_boolean() => {
                return invalid(format!("config.networking.{key}: must be true or false"));
            }
            ("allowed_hosts", value) if limited && !is_strings(value) => {
                return invalid("config.networking.allowed_hosts: must be an array of strings");
            }
            (_, value) => value.clone(),
        };
        networking.insert(key.clone(), value);
    }
    if limited {
        default_to(&mut networking, "allow_mcp_servers", json!(false));
        default_to(&mut networking, "allow_package_managers", json!(false));
        default_to(&mut networking, "allowed_hosts", json!([]));
    }
    Ok(Value::Object(networking))
}

fn packages(current: Option<&Object>, given: &Value) -> Result<Value, ConfigError> {
    let given = match given {
        Value::Null => return Ok(default_packages()),
        Value::Object(given) => given,
        _ => return invalid("config.packages: must be an object"),
    };
    let mut packages = current.cloned().unwrap_or_default();
    for (key, value) in given {
        let is_list = PACKAGE_LISTS.contains(&key.as_str());
        let value = match value {
            Value::Null if is_list => json!([]),
            Value::Null if key == "type" => json!("packages"),
            value if is_list && !is_strings(value) => {
                return invalid(format!("config.packages.{key}: must be an array of strings"));
            }
            value if key == "type" && value != "packages" => {
                return invalid("config.packages.type: must be \"packages\"");
            }
            value => value.clone(),
        };
        packages.insert(key.clone(), value);
    }
    for list in PACKAGE_LISTS {
        default_to(&mut packages, list, json!([]));
    }
    default_to(&mut packages, "type", json!("packages"));
    Ok(Value::Object(packages))
}

fn default_to(object: &mut Object, key: &str, value: Value) {
    if !object.contains_key(key) {
        object.insert(key.to_owned(), value);
    }
}

fn is_strings(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_new_config_is_filled_with_defaults_in_the_order_given() {
        let all = r#""packages":{"apt":[],"cargo":[],"gem":[],"go":[],"npm":[],"pip":[],"type":"packages"}"#;
        let cases = [
            (r#"{"type":"self_hosted"}"#, r#"{"type":"self_hosted"}"#.to_owned()),
            (r#"{"type":"self_hosted","x":1.50}"#, r#"{"type":"self_hosted","x":1.50}"#.to_owned()),
            ("null", format!(r#"{{"networking":{{"type":"unrestricted"}},{all},"type":"cloud"}}"#)),
            (
                r#"{"type":"cloud","z":{"n":1E+2},"a":null}"#,
                format!(r#"{{"type":"cloud","z":{{"n":1E+2}},"a":null,"networking":{{"type":"unrestricted"}},{all}}}"#),
            ),
            (
                r#"{"type":"cloud","networking":{"type":"limited","allowed_hosts":null,"f":1}}"#,
                format!(
                    r#"{{"type":"cloud","networking":{{"type":"limited","allowed_hosts":[],"f":1,"allow_mcp_servers":false,"allow_package_managers":false}},{all}}}"#
                ),
            ),
            (
                r#"{"packages":{"pip":["pandas"],"apt":null,"type":null},"type":"cloud"}"#,
                r#"{"packages":{"pip":["pandas"],"apt":[],"type":"packages","cargo":[],"gem":[],"go":[],"npm":[]},"type":"cloud","networking":{"type":"unrestricted"}}"#.to_owned(),
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(create(Some(&text(given))).unwrap().to_string(), expected, "{given}");
        }
        assert_eq!(create(None), create(Some(&Value::Null)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (given, named) in [
            ("1", "config:"),
            ("[]", "config:"),
            ("{}", "config.type:"),
            (r#"{"type":null}"#, "config.type:"),
            (r#"{"type":"moon"}"#, "config.type:"),
            (r#"{"type":"cloud","networking":[]}"#, "config.networking:"),
            (r#"{"type":"cloud","networking":{}}"#, "config.networking.type:"),
            (r#"{"type":"cloud","networking":{"type":"open"}}"#, "config.networking.type:"),
            (r#"{"type":"cloud","networking":{"type":"limited","allow_mcp_servers":1}}"#, "config.networking.allow_mcp_servers:"),
            (r#"{"type":"cloud","networking":{"type":"limited","allowed_hosts":"x"}}"#, "config.networking.allowed_hosts:"),
            (r#"{"type":"cloud","packages":[]}"#, "config.packages:"),
            (r#"{"type":"cloud","packages":{"pip":"numpy"}}"#, "config.packages.pip:"),
            (r#"{"type":"cloud","packages":{"go":[1]}}"#, "config.packages.go:"),
            (r#"{"type":"cloud","packages":{"type":"boxes"}}"#, "config.packages.type:"),
        ] {
            match create(Some(&text(given))) {
                Err(ConfigError::Invalid(message)) => assert!(message.starts_with(named), "{given}: {message}"),
                other => panic!("{given}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_update_keeps_what_it_omits_and_resets_what_it_nulls() {
        let before = create(Some(&text(
            r#"{"type":"cloud","networking":{"type":"limited","allow_mcp_servers":true,"allowed_hosts":["h"]},
                "packages":{"pip":["a"],"npm":["b"]},"future":{"x":1}}"#,
        )))
        .unwrap();
        let after = |given: &str| update(&before, &text(given)).unwrap();
        assert_eq!(after(r#"{"type":"cloud"}"#), before);
        assert_eq!(after("{}"), before);
        assert_eq!(after("null"), default_cloud());
        assert_eq!(after(r#"{"networking":null}"#)["networking"], default_networking());
        assert_eq!(after(r#"{"packages":null}"#)["packages"], default_packages());

        let pip_reset = after(r#"{"type":"cloud","packages":{"pip":null}}"#);
        assert_eq!((&pip_reset["packages"]["pip"], &pip_reset["packages"]["npm"]), (&json!([]), &json!(["b"])));
        assert_eq!(pip_reset["networking"], before["networking"]);
        assert_eq!(pip_reset["future"], before["future"]);

        let hosts = after(r#"{"networking":{"type":"limited","allowed_hosts":["i"]}}"#);
        assert_eq!(hosts["networking"]["allow_mcp_servers"], json!(true));
        assert_eq!(hosts["networking"]["allowed_hosts"], json!(["i"]));

        let opened = after(r#"{"networking":{"type":"unrestricted"}}"#);
        assert_eq!(opened["networking"], default_networking());

        assert_eq!(update(&before, &text(r#"{"type":"self_hosted"}"#)), Err(ConfigError::TypeChange));
        let hosted = text(r#"{"type":"self_hosted"}"#);
        assert_eq!(update(&hosted, &text(r#"{"type":"cloud"}"#)), Err(ConfigError::TypeChange));
        assert_eq!(update(&hosted, &Value::Null), Ok(hosted.clone()));
    }
}
