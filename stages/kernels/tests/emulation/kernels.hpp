#pragma once
#include "threads.hpp"

#include <map>
#include <string>
#include <utility>

// A kernel that is called for one thread with pointers to its arguments.
typedef std::function<void(void **)> Kernel;

// The kernels of this crate.
const std::map<std::string, Kernel> &own_kernels();

// A kernel of candle's by its name, as far as tests use it; empty if it is unknown.
Kernel candle_kernel(const std::string &name);
