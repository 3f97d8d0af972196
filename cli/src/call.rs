//! `antenv call`: any operation by name.

use crate::Cli;
use crate::client::ClientOptions;
use crate::output::{Failure, write_json_line, write_line};
use antenv::api::operations::{OPERATIONS, Operation, ResponseKind};
use antenv::{Pager, download};
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory};
use std::io;

/// Calls an operation of the API
///
/// The result is JSON on standard output, as the server sent it. When the call fails, the error object is on standard error, and the exit
/// code is 1.
#[derive(Args)]
pub struct Options {
    /// The operation, such as environments.create
    #[arg(value_name = "OPERATION", value_parser = PossibleValuesParser::new(OPERATIONS.iter().map(|each| each.name)), hide_possible_values = true)]
    operation: String,

    /// Its parameters, identifiers too: a JSON object; - reads them from standard input
    #[arg(value_name = "JSON")]
    parameters: Option<String>,

    /// Write the items of all pages of a list, one a line
    #[arg(long)]
    all: bool,

    /// The file to write what the operation downloads; it is whole or not there
    #[arg(long, value_name = "PATH", conflicts_with = "all")]
    output: Option<String>,

    #[command(flatten)]
    client: ClientOptions,
}

/// Makes the call. Exits at once on wrong usage.
pub fn run(options: Options) -> Result<(), Failure> {
    // The parser has checked the name.
    let operation = OPERATIONS.iter().find(|each| each.name == options.operation).copied();
    let operation = operation.unwrap_or_else(|| wrong_usage("unknown operation"));
    check_usage(operation, &options);
    let client = options.client.client()?;
    let from_input = match options.parameters.as_deref() {
        Some("-") => Some(io::read_to_string(io::stdin()).map_err(|error| Failure::io("standard input", error))?),
        _ => None,
    };
    let parameters = from_input.as_deref().or(options.parameters.as_deref());
    if options.all {
        let pager = Pager::new(&client, operation.name, parameters)?;
        while let Some(item) = pager.next()? {
            write_json_line(&item)?;
        }
        return Ok(());
    }
    let result = match &options.output {
        Some(path) => download::download(&client, operation.name, parameters, path)?,
        None => client.call(operation.name, parameters)?,
    };
    write_line(&result)
}

/// Exits if the options do not suit the operation.
fn check_usage(operation: &Operation, options: &Options) {
    let name = operation.name;
    let problem = match operation.response {
        ResponseKind::Stream => format!("{name} is a stream of events: follow it with `antenv sessions tail ID`"),
        ResponseKind::Binary if options.output.is_none() => {
            format!("{name} downloads a file: say with --output where to write it")
        }
        ResponseKind::Json if options.output.is_some() => format!("{name} downloads no file: it cannot have --output"),
        _ if options.all && !operation.paged => format!("{name} is not paged: it cannot have --all"),
        _ => return,
    };
    wrong_usage(&problem)
}

fn wrong_usage(problem: &str) -> ! {
    Cli::command().error(ErrorKind::ArgumentConflict, problem).exit()
}
