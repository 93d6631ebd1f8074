// Single values of operands as bodies read and write them, float32 whatever their format.

MPK_DEVICE float load_one(const float* p) { return load_f32(p); }
MPK_DEVICE float load_one(const u16* p) { return bf16_to_f32(load_u16(p)); }
MPK_DEVICE i32 load_one(const i32* p) { return load_i32(p); }
MPK_DEVICE void store_one(float* p, float v) { *p = v; }
MPK_DEVICE void store_one(u16* p, float v) { *p = f32_to_bf16(v); }

// A value in two bf16 terms, the second so many elements behind the first; see BodyOperand.
MPK_DEVICE float load_terms(const u16* p, u32 behind) { return load_one(p) + load_one(p + behind); }
MPK_DEVICE void store_terms(u16* p, u32 behind, float v) {
  const float first = round_bf16(v);
  p[0] = f32_to_bf16(first);
  p[behind] = f32_to_bf16(v - first);
}

// One output of a body, of a row that is one of the step's tokens.
template <class C>
MPK_DEVICE void store_output(const Context& c, const u32* ops, u32 row, u32 column, float v) {
  const u64 at = static_cast<u64>(row) * C::kOutStride + column;
  if constexpr (C::kOutTerms) {
    store_terms(in_scratch<u16>(c, ops[C::kOutOperand]) + at, c.tokens * C::kOutStride, v);
  } else {
    store_one(in_scratch<typename C::Out>(c, ops[C::kOutOperand]) + at, v);
  }
}

// Four consecutive activations as float32. Rows start at 8-byte (bf16) or 16-byte (f32) bounds.
MPK_DEVICE void load_four(const float* p, float (&v)[4]) {
  Vec4 r = load_vec4(p);
  v[0] = bits_to_f32(r.x); v[1] = bits_to_f32(r.y);
  v[2] = bits_to_f32(r.z); v[3] = bits_to_f32(r.w);
}
MPK_DEVICE void load_four(const u16* p, float (&v)[4]) {
  Vec2 r = load_vec2(p);
  v[0] = bf16_low(r.x); v[1] = bf16_high(r.x);
  v[2] = bf16_low(r.y); v[3] = bf16_high(r.y);
}
