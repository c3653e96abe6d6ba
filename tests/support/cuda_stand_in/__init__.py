"""A CUDA device that is not there, so that what only a GPU would refuse fails on a machine without one.

Tensors say `cuda:0` and hold real values on the CPU. They dispatch under torch's CUDA keys: autocast uses CUDA's lists,
`GradScaler("cuda")` scales, Adam is the fused one. Whatever mixes devices raises as a build with CUDA raises; each time
that the host would wait for the device is counted with its line, and warned about as
`torch.cuda.set_sync_debug_mode("warn")` warns. Warp's CUDA kernels run on the CPU. `torch.OutOfMemoryError` comes at the
memory that the device is given.

A process gets it by its environment alone (`stand_in_environment`), and so do the processes that it starts.

Limits. It cannot show time, races between streams, the choices of cuDNN and cuBLAS, TF32, numbers that only a GPU rounds
so, memory that an allocator loses by fragments, or a kernel's limits of registers and shared memory. Pinned memory and
streams are names. CUDA graphs and several devices are not there. What torch's CUDA build does with private kernels (fused
attention, for one) is what the CPU does. It uses private parts of torch and Warp: written against torch 2.13 (CPU build)
and Warp 1.19.
"""

from cuda_stand_in.guard import NoCompiler
from cuda_stand_in.start import stand_in_environment

__all__ = ["NoCompiler", "stand_in_environment"]
