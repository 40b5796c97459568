
#include "rtbus_hash.h"


#define rtbus_hash_rotate(x, n)  (((x) << (n)) | ((x) >> (64 - (n))))


/* compilers make one read of it */

#define rtbus_hash_word(p)                                                    \
    ((uint64_t) (p)[0] | (uint64_t) (p)[1] << 8                               \
     | (uint64_t) (p)[2] << 16 | (uint64_t) (p)[3] << 24                      \
     | (uint64_t) (p)[4] << 32 | (uint64_t) (p)[5] << 40                      \
     | (uint64_t) (p)[6] << 48 | (uint64_t) (p)[7] << 56)


static uint64_t rtbus_hash_rest(const uint8_t *p, size_t len);
static void rtbus_hash_round(uint64_t *v);


uint64_t
rtbus_hash(const uint8_t *key, const uint8_t *p, size_t len)
{
    uint64_t        k[2], v[4], word;
    const uint8_t  *last;

    k[0] = rtbus_hash_word(key);
    k[1] = rtbus_hash_word(key + 8);

    v[0] = k[0] ^ 0x736f6d6570736575;
    v[1] = k[1] ^ 0x646f72616e646f6d;
    v[2] = k[0] ^ 0x6c7967656e657261;
    v[3] = k[1] ^ 0x7465646279746573;

    last = p + (len & ~(size_t) 7);

    while (p < last) {
        word = rtbus_hash_word(p);
        p += 8;

        v[3] ^= word;
        rtbus_hash_round(v);
        v[0] ^= word;
    }

    word = ((uint64_t) len << 56) | rtbus_hash_rest(p, len & 7);

    v[3] ^= word;
    rtbus_hash_round(v);
    v[0] ^= word;

    v[2] ^= 0xff;
    rtbus_hash_round(v);
    rtbus_hash_round(v);
    rtbus_hash_round(v);

    return v[0] ^ v[1] ^ v[2] ^ v[3];
}


static uint64_t
rtbus_hash_rest(const uint8_t *p, size_t len)
{
    size_t    i;
    uint64_t  word;

    word = 0;

    for (i = 0; i < len; i++) {
        word |= (uint64_t) p[i] << (8 * i);
    }

    return word;
}


static void
rtbus_hash_round(uint64_t *v)
{
    v[0] += v[1];
    v[1] = rtbus_hash_rotate(v[1], 13) ^ v[0];
    v[0] = rtbus_hash_rotate(v[0], 32);

    v[2] += v[3];
    v[3] = rtbus_hash_rotate(v[3], 16) ^ v[2];

    v[0] += v[3];
    v[3] = rtbus_hash_rotate(v[3], 21) ^ v[0];

    v[2] += v[1];
    v[1] = rtbus_hash_rotate(v[1], 17) ^ v[2];
    v[2] = rtbus_hash_rotate(v[2], 32);
}
