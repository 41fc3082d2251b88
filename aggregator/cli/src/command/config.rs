//! `inquest config check FILE` and `inquest config schema PROGRAM`.

pub(super) mod schema;

use std::path::Path;

use inquest_shared::config::{AgentConfig, AggregatorConfig, ConfigError, Effective, Inputs, load};
use serde_json::json;

use crate::{
    app::Context,
    cli::{CheckArgs, Form, Program},
    error::{CliError, Status},
    output,
};

/// Checks the file alone: what the environment sets is a matter of the host that the program runs on.
pub(super) fn check(context: &Context, args: &CheckArgs) -> Result<Status, CliError> {
    let (program, outcome) = judge(&args.file, args.program)?;
    let effective = outcome?;
    output::print(&text(context.form, &args.file, program, &effective))?;
    Ok(Status::Success)
}

type Outcome = Result<Effective, ConfigError>;

/// The file as the program reads it; without a program, as the one reads it that its name or its content fits.
fn judge(file: &Path, program: Option<Program>) -> Result<(Program, Outcome), CliError> {
    if let Some(program) = program.or_else(|| by_name(file)) {
        return Ok((program, read(file, program)));
    }
    let agent = read(file, Program::Agent);
    match (agent, read(file, Program::Aggregator)) {
        (Ok(effective), Err(_)) => Ok((Program::Agent, Ok(effective))),
        (Err(_), Ok(effective)) => Ok((Program::Aggregator, Ok(effective))),
        (Err(error @ (ConfigError::Unreadable { .. } | ConfigError::TooLarge { .. })), _) => Err(error.into()),
        _ => Err(CliError::Program { path: file.to_owned() }),
    }
}

fn by_name(file: &Path) -> Option<Program> {
    let name = file.file_name()?.to_str()?.to_ascii_lowercase();
    match (name.contains("agent"), name.contains("aggregator")) {
        (true, false) => Some(Program::Agent),
        (false, true) => Some(Program::Aggregator),
        _ => None,
    }
}

fn read(file: &Path, program: Program) -> Outcome {
    let inputs = Inputs {
        file: Some(file.to_owned()),
        ..Inputs::default()
    };
    match program {
        Program::Agent => load::<AgentConfig>(&inputs).map(|loaded| loaded.effective),
        Program::Aggregator => load::<AggregatorConfig>(&inputs).map(|loaded| loaded.effective),
    }
}

fn text(form: Form, file: &Path, program: Program, effective: &Effective) -> String {
    let name = program.name();
    let values = effective
        .iter()
        .map(|(path, value, origin)| json!({"path": path, "value": value, "origin": origin.to_string()}));
    let value = || json!({"file": file.to_string_lossy(), "program": name, "valid": true, "values": values.collect::<Vec<_>>()});
    match form {
        Form::Table => format!("{}: valid for the {name}", file.display()),
        Form::Wide => effective.to_string(),
        Form::Json => format!("{:#}", value()),
        Form::Yaml => output::to_yaml(&value()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_is_checked_for_the_program_that_it_fits() {
        let (_dir, path) = file("inquest.yaml", "engine:\n  quiet_period: 5m\n");
        let (program, outcome) = judge(&path, None).unwrap();
        assert_eq!(program, Program::Aggregator);
        let shown = text(Form::Wide, &path, program, &outcome.unwrap());
        assert!(shown.contains("engine.quiet_period: 5m"), "{shown}");
    }

    #[test]
    fn the_name_of_the_file_decides_before_its_content() {
        let (_dir, path) = file("agent.yaml", "engine: {}\n");
        let (program, outcome) = judge(&path, None).unwrap();
        assert_eq!(program, Program::Agent);
        assert!(outcome.unwrap_err().to_string().contains("engine"));
    }

    #[test]
    fn a_file_for_neither_asks_for_the_program() {
        let (_dir, path) = file("x.yaml", "nonsense: 1\n");
        let error = judge(&path, None).unwrap_err();
        assert_eq!(error.status(), Status::Usage);
        assert!(error.advice("inquest").unwrap().contains("--program"));
        assert!(judge(&path, Some(Program::Agent)).unwrap().1.is_err());
    }

    #[test]
    fn a_missing_file_is_a_configuration_error() {
        let error = judge(Path::new("/nonexistent/x.yaml"), None).unwrap_err();
        assert_eq!(error.status(), Status::Usage);
        assert!(error.to_string().contains("cannot read configuration file"), "{error}");
    }
}
