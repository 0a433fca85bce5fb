// Which variant of the inner loops this processor runs.

#ifndef CRAFTER_DISPATCH_H_
#define CRAFTER_DISPATCH_H_

#include "kernels.h"

namespace crafter {

// The best that the processor can run, or the one that the environment variable ENVGEN_CRAFTER_KERNELS names.
const Kernels& kernels();

}  // namespace crafter

#endif  // CRAFTER_DISPATCH_H_
