//! The model of a run, which embeds images.

use std::ffi::c_char;
use std::slice;

use dnc_run::search::RunModel;
use serde_json::json;

use crate::boundary::{free, handle, json, success};
use crate::opened::Opened;
use crate::pictures::{self, Image};

/// Loads the model of the chosen round; [`dnc_free_model`] frees it.
///
/// # Safety
/// `run` is a handle of this library, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_model(run: *const Opened, error: *mut *mut c_char) -> *mut RunModel {
    // SAFETY: by the caller's promise.
    unsafe { handle(error, || Ok(RunModel::open(&(*run).evidence)?)) }
}

/// The node that evaluated a model, its dimension, and the side of the square that its network takes.
///
/// # Safety
/// `model` is a handle of this library, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_describe_model(model: *const RunModel, error: *mut *mut c_char) -> *mut c_char {
    // SAFETY: by the caller's promise.
    unsafe {
        let model = &*model;
        json(error, || Ok(json!({ "node": model.evaluation(), "dim": model.dim(), "side": model.side() })))
    }
}

/// Writes the embeddings of `count` images to `vectors`, `[count, dim]`.
///
/// # Safety
/// `model` is a handle of this library, `images` points to `count` images whose pointers are valid, `vectors` to as many values, and
/// `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_embed(
    model: *const RunModel,
    images: *const Image,
    count: usize,
    vectors: *mut f32,
    error: *mut *mut c_char,
) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        success(error, || {
            let model = &*model;
            let embedded = model.embed(&pictures::decoded(images, count, model)?)?;
            slice::from_raw_parts_mut(vectors, count * model.dim()).copy_from_slice(&embedded);
            Ok(())
        })
    }
}

/// Frees a model.
///
/// # Safety
/// `model` is null or a handle of this library that is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_free_model(model: *mut RunModel) {
    // SAFETY: by the caller's promise.
    unsafe { free(model) };
}
