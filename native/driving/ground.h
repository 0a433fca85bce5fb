// The ground of a frame, with the road on it.

#ifndef DRIVING_GROUND_H_
#define DRIVING_GROUND_H_

#include "canvas.h"
#include "light.h"
#include "scene.h"

namespace driving {

void draw_ground(const Scene& scene, const Light& light, Canvas& canvas);

}  // namespace driving

#endif  // DRIVING_GROUND_H_
