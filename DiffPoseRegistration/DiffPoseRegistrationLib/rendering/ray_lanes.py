"""Joseph's method for neighbouring rays at once, one in each lane of the processor's vectors.

``single_ray.bilinear`` leaves a compiler to vectorise over the samples of one ray: every lane then reads another plane
of the volume, so another line of the cache, and what remains of a ray after the last full vector is done one by one.
Here a vector holds one sample of each of ``LANES`` neighbouring rays, all on the same plane: they share one or two
lines of the cache, which are asked for some planes ahead, and lanes whose ray has ended are masked. The loop is
written in LLVM's own vectors, which become AVX-512 or AVX2 gathers; without either (ARM has no gathers) the marcher
keeps to ``single_ray``.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

try:
    _features = llvm.get_host_cpu_features()
except RuntimeError:  # LLVM does not know this processor
    _features = {}

GATHERS = bool(_features.get("avx2") or _features.get("avx512f"))
LANES = 16 if _features.get("avx512f") else 8

# Planes between asking for a line and using it. Without, large volumes take three times as long, waiting for memory;
# 4 to 16 measure alike.
_AHEAD = 8

_HALF, _INT, _FLOAT = ir.IntType(16), ir.IntType(32), ir.FloatType()
_INTS, _FLOATS = ir.VectorType(_INT, LANES), ir.VectorType(_FLOAT, LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)
_FAST = ("fast",)


class _Vectors:
    """A few words for building vector instructions."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def splat(self, value: ir.Value) -> ir.Value:
        vector = ir.VectorType(value.type, LANES)
        first = self.builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_INT, 0))
        zeros = ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES)
        return self.builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)

    def row(self, array: Any, row: int, vector: ir.VectorType) -> ir.Value:
        """Pointer to row ``row`` of an array [n, LANES], as a vector."""
        first = self.builder.gep(array.data, [ir.Constant(_INT, row * LANES)], inbounds=True)
        return self.builder.bitcast(first, vector.as_pointer())

    def load(self, pointer: ir.Value) -> ir.Value:
        loaded = self.builder.load(pointer)
        loaded.align = 4
        return loaded

    def store(self, value: ir.Value, pointer: ir.Value) -> None:
        self.builder.store(value, pointer, align=4)

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fadd(a, b, flags=_FAST)

    def subtract(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fsub(a, b, flags=_FAST)

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a b + c."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=_FAST), c, flags=_FAST)

    def prefetch(self, base: ir.Value, at: ir.Value) -> None:
        """Ask for the line of ``base[at]``, which may lie anywhere."""
        place = self.builder.gep(base, [at])
        kind = ir.FunctionType(ir.VoidType(), [place.type, _INT, _INT, _INT])
        prefetch = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        for_reading, keep, data = (ir.Constant(_INT, n) for n in (0, 3, 1))
        self.builder.call(prefetch, [place, for_reading, keep, data])

    def gather_pairs(self, base: ir.Value, at: ir.Value, mask: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The counts at ``base[at]`` and ``base[at + 1]``, zero where ``mask`` is not set."""
        pointers = self.builder.gep(base, [at], inbounds=True, source_etype=_HALF)
        pointers.type = ir.VectorType(base.type, LANES)
        kind = ir.FunctionType(_INTS, [pointers.type, _INT, _BITS, _INTS])
        name = f"llvm.masked.gather.v{LANES}i32.v{LANES}p0"
        gather = cgutils.get_or_insert_function(self.builder.module, kind, name)
        both = self.builder.call(gather, [pointers, ir.Constant(_INT, 2), mask, ir.Constant(_INTS, [0] * LANES)])
        low = self.builder.and_(both, ir.Constant(_INTS, [0xFFFF] * LANES))
        high = self.builder.lshr(both, ir.Constant(_INTS, [16] * LANES))
        return self.builder.sitofp(low, _FLOATS), self.builder.sitofp(high, _FLOATS)


@intrinsic
def bilinear_lanes(typing_context, values, base, stride_v, stride_w, count, start, window, sums, gradient):
    """As ``single_ray.bilinear`` for the rays of all lanes, over ``count`` planes, the first at ``base``.

    ``start`` [4, LANES] float32: u, its step, v, its step. ``window`` [2, LANES] int32: each lane's first plane,
    counted from ``base``, and how many it crosses. ``sums`` [5, LANES] float32 gets value, gradient along u and v,
    plane times gradient along u and v; only the value if ``gradient`` is None, which is decided when compiling this.
    """
    with_gradient = not isinstance(gradient, types.NoneType)

    def generate(context, builder, signature, arguments):
        v = _Vectors(builder)
        values, start, window, sums = (
            context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (0, 5, 6, 7)
        )
        base, stride_v, stride_w, count = arguments[1:5]
        u_first, u_step, v_first, v_step = (v.load(v.row(start, n, _FLOATS)) for n in range(4))
        first, crossed = (v.load(v.row(window, n, _INTS)) for n in range(2))
        rows = v.splat(stride_v)
        stride_v_long = builder.sext(stride_v, base.type)
        outer = [
            [builder.extract_element(part, ir.Constant(_INT, lane)) for part in (u_first, u_step, v_first, v_step)]
            for lane in (0, LANES - 1)
        ]
        zero = ir.Constant(_FLOATS, [0.0] * LANES)
        totals = [cgutils.alloca_once_value(builder, zero) for _ in range(5 if with_gradient else 1)]

        def accumulate(number: int, a: ir.Value, b: ir.Value | None = None) -> None:
            held = builder.load(totals[number])
            builder.store(v.add(held, a) if b is None else v.multiply_add(a, b, held), totals[number])

        with cgutils.for_range(builder, count, intp=_INT) as loop:
            plane = v.splat(loop.index)
            mask = builder.icmp_unsigned("<", builder.sub(plane, first), crossed)
            number = builder.sitofp(loop.index, _FLOAT)
            step = v.splat(number)
            u, w = v.multiply_add(step, u_step, u_first), v.multiply_add(step, v_step, v_first)
            iu, iv = builder.fptosi(u, _INTS), builder.fptosi(w, _INTS)
            fu, fv = v.subtract(u, builder.sitofp(iu, _FLOATS)), v.subtract(w, builder.sitofp(iv, _FLOATS))
            at = builder.add(builder.mul(iv, rows), iu)
            offset = builder.add(base, builder.mul(builder.sext(loop.index, base.type), stride_w))
            here = builder.gep(values.data, [offset], inbounds=True)
            below = builder.gep(here, [stride_v_long], inbounds=True)
            # The lines that the outermost rays will read; the others lie between them.
            ahead = builder.gep(here, [builder.mul(stride_w, ir.Constant(stride_w.type, _AHEAD))])
            later = v.add(number, ir.Constant(_FLOAT, _AHEAD))
            for lane_u, lane_u_step, lane_v, lane_v_step in outer:
                x = builder.fptosi(v.multiply_add(later, lane_u_step, lane_u), _INT)
                y = builder.fptosi(v.multiply_add(later, lane_v_step, lane_v), _INT)
                place = builder.sext(builder.add(builder.mul(y, stride_v), x), base.type)
                v.prefetch(ahead, place)
                v.prefetch(ahead, builder.add(place, stride_v_long))
            v00, v01 = v.gather_pairs(here, at, mask)
            v10, v11 = v.gather_pairs(below, at, mask)
            e0, e1 = v.subtract(v01, v00), v.subtract(v11, v10)
            c0 = v.multiply_add(fu, e0, v00)
            along_v = v.subtract(v.multiply_add(fu, e1, v10), c0)
            accumulate(0, v.multiply_add(fv, along_v, c0))
            if with_gradient:
                along_u = v.multiply_add(fv, v.subtract(e1, e0), e0)
                accumulate(1, along_u)
                accumulate(2, along_v)
                accumulate(3, step, along_u)
                accumulate(4, step, along_v)
        for number, total in enumerate(totals):
            v.store(builder.load(total), v.row(sums, number, _FLOATS))
        return context.get_dummy_value()

    counts = (types.int64, types.int32, types.int64, types.int32)
    return types.void(values, *counts, start, window, sums, gradient), generate
