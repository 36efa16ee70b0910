//! Plain loops compiled for the best instruction set of the machine.

use crate::simd::{Level, Simd, Task};

/// Runs `body` compiled with all instruction-set extensions of this machine. The closure and the functions that it calls must be
/// `#[inline(always)]`, or they are compiled without.
#[inline(always)]
pub(crate) fn vectorised<R>(body: impl FnMut() -> R) -> R {
    Level::detected().run(Plain(body))
}

/// `FnMut` because calling an `FnOnce` goes through a function of the standard library that is not inlined.
struct Plain<F>(F);

impl<R, F: FnMut() -> R> Task for Plain<F> {
    type Output = R;

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) -> R {
        (self.0)()
    }
}
