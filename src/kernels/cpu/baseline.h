// Everything the ISA translation units include that must be compiled for the baseline: included
// before their target region, so that no function shared with other units carries instructions of
// an ISA.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <utility>

#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/rows.h"
#include "kernels/element.h"
#include "kernels/kernel_table.h"
#include "kernels/philox.h"
