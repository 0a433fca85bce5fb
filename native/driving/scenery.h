// What stands beside the road and belongs to no lane: trees, buildings, barriers, and the beacons of roadworks.

#ifndef DRIVING_SCENERY_H_
#define DRIVING_SCENERY_H_

#include "canvas.h"
#include "light.h"
#include "scene.h"

namespace driving {

void draw_scenery(const Scene& scene, const Light& light, Canvas& canvas);

}  // namespace driving

#endif  // DRIVING_SCENERY_H_
