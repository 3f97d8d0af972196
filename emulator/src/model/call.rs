//! A tool call of an agent and its life: what it waits for, and which answers it takes. The rules are pure; below them are its rows.
//!
//! ```text
//!               user.tool_confirmation: allow              a result
//!   held (ask) ───────────────────────────────► open ───────────────────► answered
//!       │ deny                                   │ interrupt, end of its thread or session
//!       ▼                                        ▼
//!     denied (also from the start: deny)       interrupted, thread_terminated, session_terminated (also from held)
//! ```

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// The ending of a call that got its result.
pub const ANSWERED: &str = "answered";

/// The ending of a call that was denied.
pub const DENIED: &str = "denied";

/// Who runs a tool, and therefore which events use and answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tool of the toolset.
    Toolset,
    /// A custom tool.
    Custom,
}

impl Kind {
    /// Returns the type of the event that calls such a tool.
    pub fn use_event(self) -> &'static str {
        match self {
            Kind::Toolset => "agent.tool_use",
            Kind::Custom => "agent.custom_tool_use",
        }
    }

    /// Returns the type of the event that answers such a call.
    pub fn result_event(self) -> &'static str {
        match self {
            Kind::Toolset => "user.tool_result",
            Kind::Custom => "user.custom_tool_result",
        }
    }

    /// Returns the field of the answer that names the call.
    pub fn id_field(self) -> &'static str {
        match self {
            Kind::Toolset => "tool_use_id",
            Kind::Custom => "custom_tool_use_id",
        }
    }
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The id of the event that made it.
    pub id: String,
    /// What scripts call it.
    pub label: String,
    /// The tool's name.
    pub name: String,
    /// Whose tool it is.
    pub kind: Kind,
    /// The sub-agent's thread that made it.
    pub thread_id: Option<String>,
    /// `allow`, `deny`, or anything else, which is held.
    pub permission: String,
    /// What a confirmation said.
    pub verdict: Option<String>,
    /// How it ended.
    pub ending: Option<String>,
}

impl Call {
    /// Returns whether the call waits for a confirmation.
    pub fn is_held(&self) -> bool {
        self.ending.is_none() && self.permission != "allow" && self.verdict.is_none()
    }

    /// Applies the verdict of a confirmation.
    pub fn confirm(&mut self, allows: bool) -> Result<(), String> {
        if !self.is_held() {
            return Err(format!("{:?} does not wait for a confirmation", self.id));
        }
        self.verdict = Some(if allows { "allow" } else { "deny" }.to_owned());
        if !allows {
            self.ending = Some(DENIED.to_owned());
        }
        Ok(())
    }

    /// Applies a result, which only an open call accepts.
    pub fn answer(&mut self, kind: Kind) -> Result<(), String> {
        if self.kind != kind {
            let (given, right) = (kind.result_event(), self.kind.result_event());
            return Err(format!("{:?} is an {}, which {right} answers, not {given}", self.id, self.kind.use_event()));
        }
        if let Some(ending) = &self.ending {
            return Err(format!("{:?} takes no result: it is {ending}", self.id));
        }
        if self.is_held() {
            return Err(format!("{:?} takes no result before it is confirmed", self.id));
        }
        self.ending = Some(ANSWERED.to_owned());
        Ok(())
    }

    fn from_row(row: &Row) -> rusqlite::Result<Call> {
        let kind: String = row.get("kind")?;
        Ok(Call {
            id: row.get("id")?,
            label: row.get("label")?,
            name: row.get("name")?,
            kind: if kind == Kind::Custom.use_event() { Kind::Custom } else { Kind::Toolset },
            thread_id: row.get("thread_id")?,
            permission: row.get("permission")?,
            verdict: row.get("verdict")?,
            ending: row.get("ending")?,
        })
    }
}

/// Adds a new call.
pub fn insert(transaction: &Transaction, session_id: &str, call: &Call) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "INSERT INTO calls (id, session_id, label, name, kind, thread_id, permission, verdict, ending)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            call.id,
            session_id,
            call.label,
            call.name,
            call.kind.use_event(),
            call.thread_id,
            call.permission,
            call.verdict,
            call.ending
        ])
}

/// Stores the verdict and the ending of a call.
pub fn save(transaction: &Transaction, call: &Call) -> rusqlite::Result<usize> {
    transaction.prepare_cached("UPDATE calls SET verdict = ?2, ending = ?3 WHERE id = ?1")?.execute(params![
        call.id,
        call.verdict,
        call.ending
    ])
}

/// Returns a session's call.
pub fn find(connection: &Connection, session_id: &str, id: &str) -> rusqlite::Result<Option<Call>> {
    connection
        .prepare_cached("SELECT * FROM calls WHERE id = ?1 AND session_id = ?2")?
        .query_row([id, session_id], Call::from_row)
        .optional()
}

/// Returns a session's last call with this label.
pub fn labelled(connection: &Connection, session_id: &str, label: &str) -> rusqlite::Result<Option<Call>> {
    connection
        .prepare_cached("SELECT * FROM calls WHERE session_id = ?1 AND label = ?2 ORDER BY seq DESC LIMIT 1")?
        .query_row([session_id, label], Call::from_row)
        .optional()
}

/// Returns the calls of a session that have not ended, or all, oldest first.
pub fn list(connection: &Connection, session_id: &str, only_unfinished: bool) -> rusqlite::Result<Vec<Call>> {
    connection
        .prepare_cached("SELECT * FROM calls WHERE session_id = ?1 AND (ending IS NULL OR NOT ?2) ORDER BY seq")?
        .query_map(params![session_id, only_unfinished], Call::from_row)?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(kind: Kind, permission: &str) -> Call {
        Call {
            id: "sevt_1".to_owned(),
            label: "bash".to_owned(),
            name: "bash".to_owned(),
            kind,
            thread_id: None,
            permission: permission.to_owned(),
            verdict: None,
            ending: (permission == "deny").then(|| DENIED.to_owned()),
        }
    }

    #[test]
    fn a_call_takes_one_result_of_its_kind_once_nothing_holds_it() {
        for (permission, verdict, accepted) in [
            ("allow", None, true),
            ("ask", None, false),
            ("ask", Some(true), true),
            ("ask", Some(false), false),
            ("unheard of", None, false),
            ("unheard of", Some(true), true),
            ("deny", None, false),
        ] {
            for kind in [Kind::Toolset, Kind::Custom] {
                let other = if kind == Kind::Custom { Kind::Toolset } else { Kind::Custom };
                let mut call = call(kind, permission);
                if let Some(allows) = verdict {
                    call.confirm(allows).unwrap();
                }
                call.answer(other).unwrap_err();
                assert_eq!(call.answer(kind).is_ok(), accepted, "{permission} {verdict:?}");
                call.answer(kind).unwrap_err();
            }
        }
    }

    #[test]
    fn only_a_held_call_takes_a_confirmation_and_only_one() {
        call(Kind::Toolset, "allow").confirm(true).unwrap_err();
        call(Kind::Toolset, "deny").confirm(true).unwrap_err();
        let mut held = call(Kind::Toolset, "ask");
        held.confirm(false).unwrap();
        assert_eq!(held.ending.as_deref(), Some(DENIED));
        held.confirm(true).unwrap_err();
    }
}
