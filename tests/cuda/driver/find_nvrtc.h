/* Where the real NVRTC is. */
#ifndef EMU_FIND_NVRTC_H
#define EMU_FIND_NVRTC_H

#include <string>

/* Its path: what EMU_NVRTC names; else what tests/cuda/get-nvrtc put into the build, what LD_LIBRARY_PATH has, or a
 * toolkit in its usual places. Empty if there is none. */
std::string find_nvrtc();

#endif
