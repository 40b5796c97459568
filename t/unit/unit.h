
/*
 * Unit tests in TAP, for prove: one program per codec.
 *
 *     ok(cond, "name %d", i)              condition; answers whether it held
 *     is_int(got, expected, "name")       integers of any width
 *     is_mem(p, len, "literal", "name")   bytes against a string literal
 *     return done_testing();              the plan; 1 if a test has failed
 *
 * The name is a printf format everywhere.  A failure tells the expression,
 * the file and the line.  Inside long loops count the mismatches and test the
 * count once: a line of output per case helps nobody.
 */


#ifndef _RTBUS_UNIT_H_INCLUDED_
#define _RTBUS_UNIT_H_INCLUDED_


#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>


#define UNIT_FUNC         static __attribute__((unused))
#define UNIT_PRINTF(n)    __attribute__((format(printf, n, n + 1)))


#define ok(cond, ...)                                                         \
    unit_ok((cond) ? 1 : 0, #cond, __FILE__, __LINE__, __VA_ARGS__)

#define is_int(got, expected, ...)                                            \
    unit_is_int((long long) (got), (long long) (expected),                    \
                #got " == " #expected, __FILE__, __LINE__, __VA_ARGS__)

#define is_mem(p, len, literal, ...)                                          \
    unit_is_mem(p, len, "" literal, sizeof(literal) - 1,                      \
                #p " is " #literal, __FILE__, __LINE__, __VA_ARGS__)


static int  unit_tests;
static int  unit_failures;


UNIT_FUNC int
unit_vok(int pass, const char *expr, const char *file, int line,
    const char *fmt, va_list args)
{
    printf("%s %d - ", pass ? "ok" : "not ok", ++unit_tests);
    vprintf(fmt, args);
    printf("\n");

    if (!pass) {
        unit_failures++;
        printf("#   failed: %s\n#   at %s:%d\n", expr, file, line);
    }

    /* what has been reported must survive a crash in the next test */

    fflush(stdout);

    return pass;
}


UNIT_FUNC UNIT_PRINTF(5) int
unit_ok(int pass, const char *expr, const char *file, int line,
    const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    unit_vok(pass, expr, file, line, fmt, args);
    va_end(args);

    return pass;
}


UNIT_FUNC UNIT_PRINTF(6) int
unit_is_int(long long got, long long expected, const char *expr,
    const char *file, int line, const char *fmt, ...)
{
    int      pass;
    va_list  args;

    pass = (got == expected);

    va_start(args, fmt);
    unit_vok(pass, expr, file, line, fmt, args);
    va_end(args);

    if (!pass) {
        printf("#        got: %lld\n#   expected: %lld\n", got, expected);
    }

    return pass;
}


UNIT_FUNC void
unit_dump(const char *label, const void *p, size_t len)
{
    size_t          i;
    const uint8_t  *u;

    u = p;

    printf("# %s: %zu bytes \"", label, len);

    for (i = 0; i < len && i < 512; i++) {
        if (u[i] >= 0x20 && u[i] < 0x7f && u[i] != '"' && u[i] != '\\') {
            putchar(u[i]);

        } else {
            printf("\\x%02x", u[i]);
        }
    }

    printf("\"%s\n", i < len ? "..." : "");
}


UNIT_FUNC UNIT_PRINTF(8) int
unit_is_mem(const void *got, size_t len, const void *expected, size_t size,
    const char *expr, const char *file, int line, const char *fmt, ...)
{
    int      pass;
    va_list  args;

    pass = (len == size && (len == 0 || memcmp(got, expected, len) == 0));

    va_start(args, fmt);
    unit_vok(pass, expr, file, line, fmt, args);
    va_end(args);

    if (!pass) {
        unit_dump("       got", got, len);
        unit_dump("  expected", expected, size);
    }

    return pass;
}


UNIT_FUNC int
done_testing(void)
{
    printf("1..%d\n", unit_tests);

    if (unit_failures) {
        printf("# %d of %d failed\n", unit_failures, unit_tests);
    }

    return unit_failures ? 1 : 0;
}


#endif /* _RTBUS_UNIT_H_INCLUDED_ */
