//! Reading bodies: each has a limit of size and time, and all together a limit of memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::limits::Limits;
use crate::problem::Problem;

/// Bytes of a permit: small bodies are many.
const UNIT: usize = 1024;

/// The memory for bodies.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    memory: Arc<Semaphore>,
    most: usize,
    time: Duration,
}

/// A body, and its place in the memory for bodies.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// To be dropped with the bytes.
    pub(crate) place: OwnedSemaphorePermit,
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Self {
        let memory = Arc::new(Semaphore::new(limits.bodies.div_ceil(UNIT)));
        Self { memory, most: limits.body, time: limits.body_time }
    }

    /// Reads a body.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Received, Problem> {
        let too_large = || {
            let message = format!("The body has more than {} bytes, which is the limit", self.most);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        };
        let stated = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if stated.is_some_and(|length| length > self.most) {
            return Err(too_large());
        }
        let units = u32::try_from(stated.unwrap_or(self.most).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let place = Arc::clone(&self.memory).try_acquire_many_owned(units).map_err(|_| Problem::busy())?;
        let collected = timeout(self.time, Limited::new(body, self.most).collect()).await;
        let collected = collected.map_err(|_| {
            let message = format!("The body did not arrive within {} s", self.time.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, message)
        })?;
        let bytes = collected.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => too_large(),
            None => Problem::invalid(format!("The body cannot be read: {error}")),
        })?;
        Ok(Received { bytes: Vec::from(bytes.to_bytes()), place })
    }
}
