//! Validates an environment's `config` and applies updates to it. Pure.
//!
//! Fields that are not known here pass through as they are, in the order given, so that clients of a newer API can be tried.
//! One rule covers create and update: absent keeps what was there, or else takes the default; `null` takes the default.

use serde_json::{Value, json, value::RawValue};

use crate::model::json::{self, Object};

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
pub fn create(given: Option<&RawValue>) -> Result<Object, ConfigError> {
    match given {
        Some(given) if !json::is_null(given) => merge(None, given),
        _ => Ok(default_cloud()),
    }
}

/// The config after an update; `null` means the defaults of the same type.
pub fn update(current: &Object, given: &RawValue) -> Result<Object, ConfigError> {
    if !json::is_null(given) {
        return merge(Some(current), given);
    }
    if is_self_hosted(current) {
        let mut config = Object::default();
        config.set("type", "self_hosted");
        return Ok(config);
    }
    Ok(default_cloud())
}

/// Whether work for this environment goes to the queue.
pub fn is_self_hosted(config: &Object) -> bool {
    config.string("type").as_deref() == Some("self_hosted")
}

fn default_cloud() -> Object {
    let mut config = Object::default();
    config.set("networking", &default_networking());
    config.set("packages", &default_packages());
    config.set("type", "cloud");
    config
}

fn default_networking() -> Value {
    json!({"type": "unrestricted"})
}

fn default_packages() -> Value {
    json!({"apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": [], "type": "packages"})
}

fn merge(current: Option<&Object>, given: &RawValue) -> Result<Object, ConfigError> {
    let Some(given) = Object::from_raw(given) else {
        return invalid("config: must be an object");
    };
    let old_type = current.and_then(|current| current.string("type"));
    let new_type = match given.get("type") {
        Some(given) => json::string(given),
        None => old_type.clone(),
    };
    let cloud = match new_type.as_deref() {
        Some("cloud") => true,
        Some("self_hosted") => false,
        _ => return invalid("config.type: must be \"cloud\" or \"self_hosted\""),
    };
    if old_type.is_some() && old_type != new_type {
        return Err(ConfigError::TypeChange);
    }

    let mut config = current.cloned().unwrap_or_default();
    for (key, value) in given.iter() {
        let old = current.and_then(|current| current.get(key)).and_then(Object::from_raw);
        match key {
            "networking" | "packages" if cloud && json::is_null(value) => config.remove(key),
            "networking" if cloud => config.set(key, &networking(old, value)?),
            "packages" if cloud => config.set(key, &packages(old, value)?),
            _ => config.set(key, value),
        }
    }
    if cloud {
        config.default_to("networking", &default_networking());
        config.default_to("packages", &default_packages());
        check_reachable(&config)?;
    }
    Ok(config)
}

/// Packages cannot be installed where the network does not let their managers through.
fn check_reachable(config: &Object) -> Result<(), ConfigError> {
    let section = |key| config.get(key).and_then(Object::from_raw).unwrap_or_default();
    let (networking, packages) = (section("networking"), section("packages"));
    let allowed = networking.get("allow_package_managers").and_then(json::boolean) == Some(true);
    let given = |list: &&&str| packages.get(list).is_some_and(|names| !json::is_empty_list(names));
    match PACKAGE_LISTS.iter().find(given) {
        Some(list) if networking.string("type").as_deref() == Some("limited") && !allowed => {
            invalid(format!("config.packages.{list}: limited networking needs allow_package_managers to be true"))
        }
        _ => Ok(()),
    }
}

fn networking(current: Option<Object>, given: &RawValue) -> Result<Object, ConfigError> {
    let Some(given) = Object::from_raw(given) else {
        return invalid("config.networking: must be an object");
    };
    let old_type = current.as_ref().and_then(|current| current.string("type"));
    let new_type = match given.get("type") {
        Some(given) => json::string(given),
        None => old_type.clone(),
    };
    let limited = match new_type.as_deref() {
        Some("limited") => true,
        Some("unrestricted") => false,
        _ => return invalid("config.networking.type: must be \"limited\" or \"unrestricted\""),
    };
    // Another policy starts from its defaults: what the old one allowed means nothing in the new one.
    let mut networking = current.filter(|_| old_type == new_type).unwrap_or_default();
    for (key, value) in given.iter() {
        match key {
            "allow_mcp_servers" | "allow_package_managers" if limited => match json::boolean(value) {
                Some(allowed) => networking.set(key, &allowed),
                None if json::is_null(value) => networking.set(key, &false),
                None => return invalid(format!("config.networking.{key}: must be true or false")),
            },
            "allowed_hosts" if limited => set_strings(&mut networking, "networking", key, value)?,
            _ => networking.set(key, value),
        }
    }
    if limited {
        networking.default_to("allow_mcp_servers", &false);
        networking.default_to("allow_package_managers", &false);
        networking.default_to("allowed_hosts", &json!([]));
    }
    Ok(networking)
}

fn packages(current: Option<Object>, given: &RawValue) -> Result<Object, ConfigError> {
    let Some(given) = Object::from_raw(given) else {
        return invalid("config.packages: must be an object");
    };
    let mut packages = current.unwrap_or_default();
    for (key, value) in given.iter() {
        match key {
            key if PACKAGE_LISTS.contains(&key) => set_strings(&mut packages, "packages", key, value)?,
            "type" if json::is_null(value) => packages.set(key, "packages"),
            "type" if json::string(value).as_deref() != Some("packages") => {
                return invalid("config.packages.type: must be \"packages\"");
            }
            _ => packages.set(key, value),
        }
    }
    for list in PACKAGE_LISTS {
        packages.default_to(list, &json!([]));
    }
    packages.default_to("type", "packages");
    Ok(packages)
}

/// Sets a list of strings verbatim, or an empty one for `null`.
fn set_strings(object: &mut Object, section: &str, key: &str, value: &RawValue) -> Result<(), ConfigError> {
    if json::is_null(value) {
        object.set(key, &json!([]));
    } else if json::is_strings(value) {
        object.set(key, value);
    } else {
        return invalid(format!("config.{section}.{key}: must be an array of strings"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).unwrap()
    }

    fn value(object: &Object) -> Value {
        serde_json::from_str(&json::text(object)).unwrap()
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
            assert_eq!(json::text(&create(Some(&raw(given))).unwrap()), expected, "{given}");
        }
        assert_eq!(json::text(&create(None).unwrap()), json::text(&create(Some(&raw("null"))).unwrap()));
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
            (r#"{"type":"cloud","networking":{"type":"limited"},"packages":{"pip":["a"]}}"#, "config.packages.pip:"),
        ] {
            match create(Some(&raw(given))) {
                Err(ConfigError::Invalid(message)) => assert!(message.starts_with(named), "{given}: {message}"),
                other => panic!("{given}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_update_keeps_what_it_omits_and_resets_what_it_nulls() {
        let before = create(Some(&raw(
            r#"{"type":"cloud","networking":{"type":"limited","allow_mcp_servers":true,"allow_package_managers":true,"allowed_hosts":["h"]},
                "packages":{"pip":["a"],"npm":["b"]},"future":{"x":1}}"#,
        )))
        .unwrap();
        let after = |given: &str| value(&update(&before, &raw(given)).unwrap());
        let before_value = value(&before);
        assert_eq!(after(r#"{"type":"cloud"}"#), before_value);
        assert_eq!(after("{}"), before_value);
        assert_eq!(after("null"), value(&default_cloud()));
        assert_eq!(after(r#"{"networking":null}"#)["networking"], default_networking());
        assert_eq!(after(r#"{"packages":null}"#)["packages"], default_packages());

        let pip_reset = after(r#"{"type":"cloud","packages":{"pip":null}}"#);
        assert_eq!((&pip_reset["packages"]["pip"], &pip_reset["packages"]["npm"]), (&json!([]), &json!(["b"])));
        assert_eq!(pip_reset["networking"], before_value["networking"]);
        assert_eq!(pip_reset["future"], before_value["future"]);

        let hosts = after(r#"{"networking":{"type":"limited","allowed_hosts":["i"]}}"#);
        assert_eq!(hosts["networking"]["allow_mcp_servers"], json!(true));
        assert_eq!(hosts["networking"]["allowed_hosts"], json!(["i"]));

        let opened = after(r#"{"networking":{"type":"unrestricted"}}"#);
        assert_eq!(opened["networking"], default_networking());

        let changed = |current: &Object, given: &str| update(current, &raw(given)).unwrap_err();
        assert_eq!(changed(&before, r#"{"type":"self_hosted"}"#), ConfigError::TypeChange);
        let hosted = create(Some(&raw(r#"{"type":"self_hosted"}"#))).unwrap();
        assert_eq!(changed(&hosted, r#"{"type":"cloud"}"#), ConfigError::TypeChange);
        assert_eq!(value(&update(&hosted, &raw("null")).unwrap()), value(&hosted));
    }
}
