// One labelled frame, from a scene to bytes.

#ifndef DRIVING_FRAME_H_
#define DRIVING_FRAME_H_

#include <cstdint>

#include "canvas.h"
#include "scene.h"

namespace driving {

// Draws the scene into the canvas that goes to `rgb`, and writes its labels and strata.
void draw_frame(const Scene& scene, Canvas& canvas, uint8_t* rgb, float* labels, bool* strata);

}  // namespace driving

#endif  // DRIVING_FRAME_H_
