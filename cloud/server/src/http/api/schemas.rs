//! The named schemas of the OpenAPI document, collected from what refers to them.

use std::collections::BTreeMap;

use fedecks_cloud::DeviceId;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// The longest name of a consumer of the log of kept messages.
pub(super) const MAX_CONSUMER_NAME: usize = 64;

/// A schema that adds itself, and what it refers to; returns a reference to it.
pub(super) type Named = fn(&mut Schemas) -> Value;

/// The schemas that the document has so far, by name.
#[derive(Default)]
pub(super) struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    /// That of a type, and of the types in it.
    pub(super) fn of<T: ToSchema>(&mut self) -> Value {
        let mut referred = Vec::new();
        T::schemas(&mut referred);
        for (name, schema) in referred {
            self.add(&name, json!(schema));
        }
        self.add(&T::name(), json!(T::schema()))
    }

    /// Adds a schema, the same one each time.
    pub(super) fn add(&mut self, name: &str, schema: Value) -> Value {
        self.0.entry(name.to_owned()).or_insert(schema);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    pub(super) fn device_id(&mut self) -> Value {
        let schema = json!({
            "type": "string",
            "description": "The id of a device: printable ASCII without `/`, `\\` and spaces, not `.` or `..`",
            "minLength": 1,
            "maxLength": DeviceId::MAX_CHARS,
            "pattern": r"^[!-.0-\[\]-~]+$",
        });
        self.add("DeviceId", schema)
    }

    pub(super) fn account_name(&mut self) -> Value {
        let schema = json!({
            "type": "string",
            "description": "The name of an account, on one line without a space at either end",
            "minLength": 1,
            "maxLength": 128,
        });
        self.add("AccountName", schema)
    }

    pub(super) fn claim_id(&mut self) -> Value {
        let schema = json!({
            "type": "string",
            "description": "The id of a claim, which is not secret",
            "pattern": "^[0-9a-f]{12}$",
        });
        self.add("ClaimId", schema)
    }

    pub(super) fn consumer_name(&mut self) -> Value {
        let schema = json!({
            "type": "string",
            "description": "The name of a consumer of the log of kept messages",
            "minLength": 1,
            "maxLength": MAX_CONSUMER_NAME,
            "pattern": "^[0-9A-Za-z_-]+$",
        });
        self.add("ConsumerName", schema)
    }

    /// What a message is in JSON: anything.
    pub(super) fn message(&mut self) -> Value {
        let schema = json!({
            "description": "Any JSON. An object with a single key that begins with `$`, such as \
                            `{\"$bytes\": \"aGVsbG8=\"}`, is an escape for what JSON lacks",
        });
        self.add("Message", schema)
    }

    #[cfg(test)]
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn into_json(self) -> Value {
        json!(self.0)
    }
}
