"""Random weights, the same bits as @mpk/runtime's random.ts and the kernel mpk_random: element i of a
tensor is center + scale * (sum of the four bytes of word i % 4 of Philox counter i // 4, less 510), in
float32, rounded to bf16. Works on torch and numpy int64 arrays alike."""
import math

MASK = 0xFFFFFFFF
BYTE_SUM_DEVIATION = math.sqrt(4 * (256 ** 2 - 1) / 12)


def tensor_word(name: str) -> int:
    """FNV-1a, 32 bits."""
    word = 0x811C9DC5
    for byte in name.encode():
        word = (word ^ byte) * 0x01000193 & MASK
    return word


def philox(counter: list, key: list) -> list:
    """Philox4x32-10 (Salmon et al. 2011) on int64 arrays that hold 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = ((b >> 32) & MASK) ^ c1 ^ k0, b & MASK, ((a >> 32) & MASK) ^ c3 ^ k1, a & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return [c0, c1, c2, c3]


def spread(shape) -> tuple:
    """(center, deviation): matrices vary by 1 / sqrt(columns), gains by 0.1 around 1."""
    columns = math.prod(shape[1:])
    return (1.0, 0.1) if columns == 1 else (0.0, columns ** -0.5)


def byte_sums(groups, seed: int, name: str) -> list:
    """By word of each counter group: the sum of its bytes, less 510."""
    zero = groups * 0
    counter = [groups & MASK, (groups >> 32) & MASK, zero + tensor_word(name), zero]
    words = philox(counter, [seed & MASK, seed >> 32 & MASK])
    return [(w & 255) + (w >> 8 & 255) + (w >> 16 & 255) + (w >> 24 & 255) - 510 for w in words]


def make(torch, name: str, shape, seed: int, device: str, step: int = 1 << 24):
    """The whole tensor as torch.bfloat16."""
    count = math.prod(shape)
    center, deviation = spread(shape)
    scale = torch.tensor(deviation / BYTE_SUM_DEVIATION, dtype=torch.float32, device=device)
    out = torch.empty((count + 3) // 4 * 4, dtype=torch.bfloat16, device=device)
    for lo in range(0, (count + 3) // 4, step):
        groups = torch.arange(lo, min(lo + step, (count + 3) // 4), dtype=torch.int64, device=device)
        sums = torch.stack(byte_sums(groups, seed, name), dim=1).reshape(-1)
        out[lo * 4:lo * 4 + len(sums)] = (center + scale * sums.float()).to(torch.bfloat16)
    return out[:count].reshape(shape)
