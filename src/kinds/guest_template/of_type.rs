//! Parts of a template's spec that a virtual machine writes in one way and a container in another. Both ways are read; which
//! one is meant is known when the template's type is.

use crate::base::id::GuestType;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// A part as a virtual machine writes it (`V`), as a container does (`C`), or as both do.
#[derive(Debug, Clone)]
pub struct OfType<V, C> {
    vm: Result<V, String>,
    ct: Result<C, String>,
}

impl<V: Serialize, C: Serialize> OfType<V, C> {
    /// The part of a guest of a type; an error says why it is none.
    pub fn of(&self, guest: GuestType) -> Result<Value, String> {
        let value = |value: serde_json::Result<Value>| value.expect("a spec is made of maps with text as keys");
        match guest {
            GuestType::Qemu => self.vm.as_ref().map(|v| value(serde_json::to_value(v))).map_err(Clone::clone),
            GuestType::Lxc => self.ct.as_ref().map(|c| value(serde_json::to_value(c))).map_err(Clone::clone),
        }
    }
}

impl<'de, V: DeserializeOwned, C: DeserializeOwned> Deserialize<'de> for OfType<V, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OfType<V, C>, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let vm = serde_json::from_value::<V>(value.clone()).map_err(|e| e.to_string());
        let ct = serde_json::from_value::<C>(value).map_err(|e| e.to_string());
        match (&vm, &ct) {
            (Err(why), Err(_)) => Err(D::Error::custom(why)),
            (_, _) => Ok(OfType { vm, ct }),
        }
    }
}

impl<V: JsonSchema, C: JsonSchema> JsonSchema for OfType<V, C> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}Or{}", V::schema_name(), C::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (vm, ct) = (generator.subschema_for::<V>(), generator.subschema_for::<C>());
        json_schema!({"anyOf": [vm, ct]})
    }
}
