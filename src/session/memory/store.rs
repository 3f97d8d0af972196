//! The requests to a memory store, each with what its response means.

use super::plan::{Listing, Memory};
use crate::api::operations::{
    MEMORY_STORES_MEMORIES_CREATE, MEMORY_STORES_MEMORIES_DELETE, MEMORY_STORES_MEMORIES_LIST, MEMORY_STORES_MEMORIES_RETRIEVE,
    MEMORY_STORES_MEMORIES_UPDATE, Operation,
};
use crate::client::{Client, PoolHandle};
use crate::error::{Error, Result, Status};
use crate::pager::Page;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

/// Bounds a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How many memories a page has, without and with their contents.
const PAGE_SIZE: u32 = 100;
const FULL_PAGE_SIZE: u32 = 20;

/// A memory store.
pub struct Store {
    client: Client,
    pool: PoolHandle,
    pub id: String,
}

/// A memory as the server shows it.
#[derive(Debug, Deserialize)]
pub struct Item {
    id: String,
    pub path: String,
    content_sha256: String,
    /// Only in a full view.
    #[serde(default)]
    pub content: Option<String>,
}

/// The outcome of writing to the store.
#[derive(Debug)]
pub enum Written {
    /// The memory has the content.
    Done(Memory),
    /// It has another content than was expected, or the path is taken.
    Conflict,
    /// It is gone.
    Gone,
    /// The server will never take the content.
    Rejected(Error),
    Failed(Error),
}

impl Item {
    pub fn memory(&self) -> Memory {
        Memory { id: self.id.clone(), sha256: self.content_sha256.clone() }
    }
}

impl Store {
    pub fn new(client: Client, pool: PoolHandle, id: String) -> Store {
        Store { client, pool, id }
    }

    /// Lists all memories, with their contents if `is_full`.
    pub async fn list(&self, is_full: bool) -> Result<Vec<Item>> {
        let (view, limit) = if is_full { ("full", FULL_PAGE_SIZE) } else { ("basic", PAGE_SIZE) };
        let params = json!({"view": view, "limit": limit}).to_string();
        let (mut items, mut seen, mut cursor) = (Vec::new(), HashSet::new(), None);
        loop {
            let ids = [("memory_store_id", self.id.as_str())];
            let mut request = self.client.prepare_with(&MEMORY_STORES_MEMORIES_LIST, &ids, Some(&params))?;
            request.timeout = REQUEST_TIMEOUT;
            if let Some(cursor) = cursor {
                request.set_query("page", cursor);
            }
            let json = self.client.send_on(&self.pool, request).await.result?;
            let page = Page::parse(&json)?;
            for item in &page.data {
                items.push(read(item.get())?);
            }
            cursor = page.next(&mut seen)?;
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    /// Lists all memories by their paths.
    pub async fn listing(&self) -> Result<Listing> {
        let items = self.list(false).await?;
        Ok(items.into_iter().map(|item| (item.path.clone(), item.memory())).collect())
    }

    /// Retrieves a memory with its content. `None`: it is gone.
    pub async fn retrieve(&self, id: &str) -> Result<Option<Item>> {
        match self.call(&MEMORY_STORES_MEMORIES_RETRIEVE, Some(id), &json!({"view": "full"})).await {
            Ok(json) => read(&json).map(Some),
            Err(error) if error.http_status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a memory.
    pub async fn create(&self, path: &str, content: &str) -> Written {
        written(self.call(&MEMORY_STORES_MEMORIES_CREATE, None, &json!({"path": path, "content": content})).await)
    }

    /// Updates a memory whose content has the hash `expected`.
    pub async fn update(&self, id: &str, content: &str, expected: &str) -> Written {
        let precondition = json!({"type": "content_sha256", "content_sha256": expected});
        let params = json!({"content": content, "precondition": precondition});
        written(self.call(&MEMORY_STORES_MEMORIES_UPDATE, Some(id), &params).await)
    }

    /// Deletes a memory whose content has the hash `expected`. Returns whether it is gone; not, if it has another content.
    pub async fn delete(&self, id: &str, expected: &str) -> Result<bool> {
        match self.call(&MEMORY_STORES_MEMORIES_DELETE, Some(id), &json!({"expected_content_sha256": expected})).await {
            Ok(_) => Ok(true),
            Err(error) => match error.http_status() {
                Some(404) => Ok(true),
                Some(409 | 412) => Ok(false),
                _ => Err(error),
            },
        }
    }

    async fn call(&self, operation: &'static Operation, memory: Option<&str>, params: &Value) -> Result<String> {
        let mut ids = vec![("memory_store_id", self.id.as_str())];
        ids.extend(memory.map(|id| ("memory_id", id)));
        let mut request = self.client.prepare_with(operation, &ids, Some(&params.to_string()))?;
        request.timeout = REQUEST_TIMEOUT;
        self.client.send_on(&self.pool, request).await.result
    }
}

fn read(json: &str) -> Result<Item> {
    serde_json::from_str(json)
        .map_err(|error| Error::new(Status::Response, format!("the server's response is no memory: {error}")))
}

fn written(result: Result<String>) -> Written {
    match result.and_then(|json| read(&json)) {
        Ok(item) => Written::Done(item.memory()),
        Err(error) => match error.http_status() {
            Some(409 | 412) => Written::Conflict,
            Some(404) => Written::Gone,
            Some(400 | 413) => Written::Rejected(error),
            _ => Written::Failed(error),
        },
    }
}
