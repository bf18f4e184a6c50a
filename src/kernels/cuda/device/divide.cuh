// Division by numbers that the host has prepared.
#pragma once

#include "base.cuh"
#include "grid_args.cuh"

TENON_DEVICE unsigned quotient(unsigned n, const Divisor& d) { return (__umulhi(n, d.factor) + n) >> d.shift; }
