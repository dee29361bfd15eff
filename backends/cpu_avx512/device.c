#include "device.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "amx.h"

const nlm_vector_device nlm_avx512_device = {&nlm_vector_gemm_quant_dword};
const nlm_vector_device nlm_avx512_tile_device = {&nlm_avx512_gemm_quant};

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_TILE_DATA  18

#define CPUID_7_EDX_TILES (3u << 24) /* AMX-TILE, AMX-INT8 */

int nlm_avx512_request_tiles(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & CPUID_7_EDX_TILES) != CPUID_7_EDX_TILES) return 0;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILE_DATA) == 0;
}
