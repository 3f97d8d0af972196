//! Prints the operation table as JSON, for `scripts/generate`.

use antenv::api::operations::{COMMON, OPERATIONS, Operation};
use antenv::api::params::{ParamType, Parameter};
use serde_json::{Value, json};

fn operation(row: &Operation) -> Value {
    json!({
        "name": row.name,
        "title": row.title,
        "doc": row.doc,
        "result": row.result,
        "method": row.method,
        "path": row.path,
        "credential": format!("{:?}", row.credential),
        "response": format!("{:?}", row.response),
        "paged": row.paged,
        "nullable": row.allows_empty_body,
        "parameters": row.parameters.iter().map(parameter).collect::<Vec<_>>(),
    })
}

fn parameter(row: &Parameter) -> Value {
    let param_type = match row.param_type {
        ParamType::Integer(..) => "Integer".to_owned(),
        other => format!("{other:?}"),
    };
    let location = format!("{:?}", row.location);
    let location = location.split('(').next();
    json!({"name": row.name, "location": location, "type": param_type, "required": row.required, "doc": row.doc})
}

fn main() {
    let common = COMMON.iter().map(parameter).collect::<Vec<_>>();
    let operations = OPERATIONS.iter().map(|row| operation(row)).collect::<Vec<_>>();
    println!("{:#}", json!({"common": common, "operations": operations}));
}
