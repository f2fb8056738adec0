//! What every call tells, also one that is about no attachment: environment and configuration. GC
//! and STATUS get no more.

use serde::de::DeserializeOwned;

use crate::{CniError, Environment, NetworkConfig, ValidAttachments, config::Document};

/// A call about a network. `C` holds the plugin's own keys.
#[derive(Debug, Clone)]
pub struct NetworkRequest<C> {
    environment: Environment,
    config: NetworkConfig<C>,
}

impl<C: DeserializeOwned> NetworkRequest<C> {
    /// Reads the name and the plugin's own keys.
    pub(crate) fn new(environment: Environment, document: Document) -> Result<Self, CniError> {
        Ok(Self { environment, config: NetworkConfig::new(document)? })
    }
}

impl<C> NetworkRequest<C> {
    /// The environment as it came.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The plugin configuration.
    pub fn config(&self) -> &NetworkConfig<C> {
        &self.config
    }

    /// The plugin's own keys.
    pub fn own(&self) -> &C {
        self.config.own()
    }

    /// For GC: the attachments of this network that the runtime still has; `None` if it did not say.
    ///
    /// # Errors
    /// [`crate::Code::INVALID_CONFIG`] if it said something else.
    pub fn valid_attachments(&self) -> Result<Option<ValidAttachments>, CniError> {
        ValidAttachments::read(self.config.document())
    }
}
