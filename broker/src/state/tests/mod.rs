//! Properties of the state.
