//! Versions of skills.

use super::{Operation, READ, ResponseKind};
use crate::api::params::ParamLocation::Path;
use crate::api::params::ParamType::Id;
use crate::api::params::{Parameter, required};

const SKILL_ID: Parameter = required("skill_id", Path, Id, "Skill identifier (`skill_...`).");
const VERSION: Parameter = required("version", Path, Id, "Version identifier.");

/// The defaults of the rows below: no beta is required.
const SKILL: Operation = Operation { beta: None, ..READ };

/// `skills.versions.retrieve`
pub const SKILLS_VERSIONS_RETRIEVE: Operation = Operation {
    name: "skills.versions.retrieve",
    title: "Get Skill Version",
    doc: "Retrieves a version of a skill.",
    result: "SkillVersion",
    path: "/v1/skills/{skill_id}/versions/{version}",
    parameters: &[SKILL_ID, Parameter { doc: "Version identifier, or `latest` for the newest version.", ..VERSION }],
    ..SKILL
};

/// `skills.versions.download`
pub const SKILLS_VERSIONS_DOWNLOAD: Operation = Operation {
    name: "skills.versions.download",
    title: "Download Skill Version",
    doc: "Downloads the archive of a skill's version.",
    result: "Download",
    path: "/v1/skills/{skill_id}/versions/{version}/content",
    parameters: &[SKILL_ID, VERSION],
    response: ResponseKind::Binary,
    ..SKILL
};
