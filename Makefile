# ngx_http_rtbus_module
#
#   make run     the demo: Redis, nginx, a producer and a page
#   make test    all tests
#
# Both install what they need with the system's package manager and say so.
#
#   make build   build/ngx_http_rtbus_module.so for the nginx installed here
#   make asan    all suites with AddressSanitizer on the whole of nginx, and
#                UBSan on the module; what is not freed at a worker's end is
#                an error, too
#   make valgrind  some suites under valgrind's memcheck
#   make soak    clients of all kinds, faults and reloads, TIME seconds of each
#                part: nobody misses anything, no process grows or is stuck
#   make unit    unit tests of src/wire
#   make fuzz    fuzzers of src/wire, src/redis and src/hub, TIME seconds each,
#                and packets of Socket.IO beside npm's socket.io-parser
#   make layers  includes and calls between the folders of src, and circles
#   make bench   what it costs, in CPU time and memory (BENCH: options)
#   make types   TYPES, TypeScript declarations of the events in SCHEMA
#   make man     build/ngx_http_rtbus_module.7, made from docs/directives.md
#   make deps    only installs
#   make deb     build/deb/*.deb, the package for Debian's nginx
#   make builds  nginx 1.22, 1.26, the newest that Debian has, and NGINX_SRC,
#                from source; gcc and clang, some suites with each
#
# In Debian systems of their own, made with debootstrap below build/roots (root
# or sudo is needed):
#
#   make test-debian13  all suites on Debian 13; REDIS=valkey for Valkey,
#                       WHO=somebody for an ordinary user who has sudo
#   make test-fresh     the demo and all suites on a Debian 12 that has nothing
#                       but git and make; WHO as above
#   make test-deb       the package is installed, used and removed
#   make test-image     the steps of Dockerfile, and a page from what they make
#   make builds         gcc and clang, nginx 1.22 and 1.26 and the newest that
#                       Debian has, built from source; some suites with each
#
#   make clean
#
# Variables: NGINX_SRC   source tree of nginx; Debian's nginx-dev by default
#            CC          compiler
#            T           suites to run, t/ by default
#            JOBS        how many suites run at a time, 2 by default
#            TIME        seconds of each fuzzer and of each part of the soak,
#                        60 by default
#            SOAK        more options of check/check, for soak
#            SCHEMA      conf/events.schema.json by default
#            TYPES       conf/events.d.ts by default

NGINX_SRC ?=
TIME ?= 60
T ?= t
JOBS ?= 2
SCHEMA ?= conf/events.schema.json
TYPES ?= conf/events.d.ts

BUILD := $(CURDIR)/build
CC ?= cc
UNIT_CFLAGS ?= -O1 -g -W -Wall -Wextra -Wshadow -Wpointer-arith -Werror
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined \
            -fno-omit-frame-pointer

# what the suites need of nginx
FULL_CONFIGURE := --with-compat --with-debug --with-threads \
                  --with-http_v2_module --with-http_ssl_module \
                  --with-http_auth_request_module --with-http_realip_module \
                  --with-http_stub_status_module --with-http_sub_module

WIRE := $(wildcard src/wire/*.c)
SOURCES := $(wildcard src/*/*.c src/*/*/*.c)
HEADERS := $(wildcard src/*/*.h src/*/*/*.h)
UNITS := $(patsubst t/unit/%.c,$(BUILD)/unit/%,$(wildcard t/unit/*.c))
FUZZERS := $(patsubst t/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard t/fuzz/*.c))


all: build

deps:
	@./.ci/deps

# promtool

test-deps:
	@./.ci/deps prometheus

node_modules: package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch node_modules


build: $(BUILD)/ngx_http_rtbus_module.so

$(BUILD)/ngx_http_rtbus_module.so: config ngx_http_rtbus_module.c \
		conf/rtbus.lua $(SOURCES) $(HEADERS)
	@NGINX_SRC="$(NGINX_SRC)" CC="$(CC)" ./.ci/build $(BUILD)

# a whole nginx with AddressSanitizer, each allocation on its own: pools would
# hide what is written beside it.  The module stays in memory up to the end, for
# the leak check to tell whose the memory was

$(BUILD)/asan/sbin/nginx: .ci/build .ci/nginx-source Makefile
	@src=$$(NGINX_SRC="$(NGINX_SRC)" ./.ci/nginx-source $(BUILD)/source) && \
		NGINX_SRC=$$src NGINX_CONFIGURE="$(FULL_CONFIGURE)" CC="$(CC)" \
		RTBUS_CFLAGS="-fsanitize=address -fno-omit-frame-pointer \
			-DNGX_DEBUG_PALLOC=1 -O1 -g" \
		./.ci/build $(BUILD)/asan/sbin nginx

$(BUILD)/asan/ngx_http_rtbus_module.so: config ngx_http_rtbus_module.c \
		conf/rtbus.lua $(SOURCES) $(HEADERS)
	@src=$$(NGINX_SRC="$(NGINX_SRC)" ./.ci/nginx-source $(BUILD)/source) && \
		NGINX_SRC=$$src NGINX_CONFIGURE="$(FULL_CONFIGURE)" CC="$(CC)" \
		RTBUS_CFLAGS="$(SANITIZE) -DNGX_DEBUG_PALLOC=1 -O1 -g" \
		RTBUS_LDFLAGS="-Wl,-z,nodelete" ./.ci/build $(BUILD)/asan

# the same for valgrind, the module with it

$(BUILD)/valgrind/nginx: .ci/build .ci/nginx-source Makefile config \
		ngx_http_rtbus_module.c conf/rtbus.lua \
		$(SOURCES) $(HEADERS)
	@src=$$(NGINX_SRC="$(NGINX_SRC)" ./.ci/nginx-source $(BUILD)/source) && \
		NGINX_SRC=$$src NGINX_CONFIGURE="$(FULL_CONFIGURE)" CC="$(CC)" \
		RTBUS_CFLAGS="-DNGX_DEBUG_PALLOC=1 -O1 -g" \
		RTBUS_LDFLAGS="-Wl,-z,nodelete" \
		./.ci/build $(BUILD)/valgrind nginx

$(BUILD)/producer: demo/producer.c
	@mkdir -p $(BUILD)
	$(CC) $(UNIT_CFLAGS) -o $@ $< -lhiredis -lyajl

# what costs, and whether it holds: the programs of bench and check, which share
# the clients in peer

PEER_CFLAGS := -O2 -g -W -Wall -Wextra -Wno-unused-parameter -Ipeer
PEER := $(patsubst peer/%.c,$(BUILD)/peer/%.o,$(wildcard peer/*.c))

$(BUILD)/peer/%.o: peer/%.c $(wildcard peer/*.h)
	@mkdir -p $(BUILD)/peer
	$(CC) $(PEER_CFLAGS) -c -o $@.$$$$ $< && mv $@.$$$$ $@

$(BUILD)/bench/%: bench/%.c $(wildcard bench/*.h) $(PEER)
	@mkdir -p $(BUILD)/bench
	$(CC) $(PEER_CFLAGS) -o $@.$$$$ $(filter %.c %.o,$^) -lhiredis \
		$(BENCH_LIBS) && mv $@.$$$$ $@

$(BUILD)/check/%.o: check/%.c $(wildcard check/*.h peer/*.h)
	@mkdir -p $(BUILD)/check
	$(CC) $(PEER_CFLAGS) -c -o $@.$$$$ $< && mv $@.$$$$ $@

$(BUILD)/check/check: $(patsubst check/%.c,$(BUILD)/check/%.o, \
		$(wildcard check/*.c)) $(PEER)
	@mkdir -p $(BUILD)/check
	$(CC) -g -o $@.$$$$ $(filter %.o,$^) -lhiredis && mv $@.$$$$ $@

$(BUILD)/bench/load: $(wildcard bench/load_*.c)
$(BUILD)/bench/floor: BENCH_LIBS = -lcrypto


run: deps build $(BUILD)/producer node_modules
	@./demo/run

# beside npm's socket.io-parser

$(BUILD)/sio: t/node/sio.c $(BUILD)/wire.a
	@mkdir -p $(BUILD)
	$(CC) $(UNIT_CFLAGS) -Isrc/wire -o $@ $< $(BUILD)/wire.a

test: test-deps build $(BUILD)/producer $(BUILD)/sio node_modules unit layers
	prove -j$(JOBS) -It/lib $(T)

asan: test-deps $(BUILD)/asan/sbin/nginx $(BUILD)/asan/ngx_http_rtbus_module.so \
		$(BUILD)/producer $(BUILD)/sio node_modules asan-unit
	RTBUS_MODULE=$(BUILD)/asan/ngx_http_rtbus_module.so \
	TEST_NGINX_BINARY=$(BUILD)/asan/sbin/nginx RTBUS_SANITIZED=1 \
		prove -j$(JOBS) -It/lib $(T)

# memcheck tells only what a process has done that was wrong

VALGRIND := valgrind -q --leak-check=full --errors-for-leak-kinds=definite \
            --show-leak-kinds=definite --num-callers=30 \
            --suppressions=$(CURDIR)/t/valgrind.supp \
            --log-file=$(BUILD)/valgrind/log/%p

valgrind: T = t/ws_subscribe.t t/sse.t t/socketio.t t/state.t t/submit.t \
              t/jwt.t

valgrind: valgrind-deps $(BUILD)/valgrind/nginx node_modules
	@rm -rf $(BUILD)/valgrind/log && mkdir -p $(BUILD)/valgrind/log
	RTBUS_MODULE=$(BUILD)/valgrind/ngx_http_rtbus_module.so \
	TEST_NGINX_BINARY=$(BUILD)/valgrind/nginx \
	RTBUS_VALGRIND="$(VALGRIND)" prove -It/lib $(T); \
		status=$$?; \
		! cat $(BUILD)/valgrind/log/* | grep -a . && exit $$status

valgrind-deps:
	@./.ci/deps valgrind


# the package, for the nginx that is installed

deb:
	@./.ci/deps --only build-essential debhelper lintian nginx-dev \
		libhiredis-dev libjwt-dev libssl-dev libyajl-dev
	@./.ci/deb $(BUILD)/deb

# other systems than this one; variables of make are passed on

test-debian12:
	@./.ci/debian test 12 T="$(T)"

test-debian13:
	@./.ci/debian test 13 T="$(T)"

test-fresh:
	@./.ci/debian fresh 12 T="$(T)"

test-deb:
	@./.ci/debian deb 12

test-image:
	@./.ci/debian image 12

builds: T = t/conf.t t/ws_subscribe.t t/sse_http2.t t/socketio.t t/reload.t

builds: test-deps
	@./.ci/deps clang
	@NGINX_SRC="$(NGINX_SRC)" NGINX_CONFIGURE="$(FULL_CONFIGURE)" T="$(T)" \
		./.ci/builds $(BUILD)/builds


unit: $(UNITS)
	timeout 300 prove -e '' $(UNITS)

# src/wire is compiled once for all of them

$(BUILD)/wire/%.o: src/wire/%.c $(wildcard src/wire/*.h) Makefile
	@mkdir -p $(BUILD)/wire
	$(CC) $(UNIT_CFLAGS) -Isrc/wire -c -o $@ $<

$(BUILD)/wire.a: $(patsubst src/wire/%.c,$(BUILD)/wire/%.o,$(WIRE))
	ar rc $@.new $^ && mv $@.new $@

$(BUILD)/unit/%: t/unit/%.c $(wildcard t/unit/*.h) $(BUILD)/wire.a
	@mkdir -p $(BUILD)/unit
	$(CC) $(UNIT_CFLAGS) -Isrc/wire -o $@ $< $(BUILD)/wire.a -lyajl

asan-unit:
	@$(MAKE) --no-print-directory unit BUILD=$(BUILD)/asan \
		UNIT_CFLAGS="$(UNIT_CFLAGS) $(SANITIZE)"

fuzz: fuzz-deps $(BUILD)/sio node_modules
	@$(MAKE) --no-print-directory fuzz-run

fuzz-deps:
	@./.ci/deps clang libwslay-dev

fuzz-run: $(FUZZERS)
	@for f in $(FUZZERS); do \
		n=$$(basename $$f); \
		mkdir -p $(BUILD)/fuzz/found/$$n; \
		echo "fuzz $$n: $(TIME) s"; \
		$$f -max_total_time=$(TIME) -print_final_stats=1 \
			-artifact_prefix=$(BUILD)/fuzz/$$n- \
			$(BUILD)/fuzz/found/$$n t/fuzz/corpus/$$n \
			> $(BUILD)/fuzz/$$n.log 2>&1 \
			|| { tail -50 $(BUILD)/fuzz/$$n.log; exit 1; }; \
		grep 'number_of_executed_units' $(BUILD)/fuzz/$$n.log; \
	done
	@echo "socket.io-parser: $(TIME) s"
	@node t/node/sio.js $(BUILD)/sio t/fuzz/corpus/sio --time $(TIME)

$(BUILD)/fuzz/%: t/fuzz/%.c $(WIRE) $(HEADERS)
	@mkdir -p $(BUILD)/fuzz
	clang -g -O1 -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -Isrc/wire -o $@ $< $(WIRE) -lyajl $(FUZZ_LIBS)

$(BUILD)/fuzz/wslay: FUZZ_LIBS = -lwslay

# the hub and its connections, with nginx's own memory, trees and timers

FUZZ_NGX = core/ngx_rbtree.c core/ngx_string.c core/ngx_palloc.c \
           core/ngx_crc32.c core/ngx_times.c core/ngx_array.c \
           core/ngx_murmurhash.c core/ngx_inet.c \
           event/ngx_event_timer.c event/ngx_event_posted.c \
           os/unix/ngx_alloc.c os/unix/ngx_time.c

FUZZ_NGX_INC = core event event/modules os/unix

FUZZ_REDIS = $(filter-out %_tls.c,$(wildcard src/redis/*.c))

$(BUILD)/fuzz/redis: t/fuzz/redis.c $(WIRE) $(HEADERS) \
		$(wildcard src/redis/*.c src/hub/*.c) $(BUILD)/asan/sbin/nginx
	@mkdir -p $(BUILD)/fuzz
	src=$$(NGINX_SRC="$(NGINX_SRC)" ./.ci/nginx-source $(BUILD)/source)/src && \
	clang -g -O1 -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -fno-sanitize=function \
		-Wno-deprecated-declarations -DNGX_DEBUG_PALLOC=1 \
		-Isrc/wire -Isrc/redis -Isrc/hub -I$(BUILD)/asan/sbin/objs \
		$$(printf -- "-I$$src/%s " $(FUZZ_NGX_INC)) -o $@ $< \
		$(WIRE) $(FUZZ_REDIS) src/hub/*.c \
		$$(printf -- "$$src/%s " $(FUZZ_NGX)) \
		-lhiredis -lcrypto -lyajl


# wire <- redis <- hub <- http: an include that points up is an error

layers: build
	@./.ci/layers $(BUILD)/objs

bench: deps build
	@BUILD=$(BUILD) ./bench/bench $(BENCH)

# a worker that lives through all; reloads; whatever there is

SOAK_OPTIONS = --soak --time $(TIME) --rate 200 --clients 20 --channels 48

soak: deps build
	@for part in "--workers 1 --faults redis,cut,freeze" \
			"--faults reload --every 5" \
			"--nodes 2 --faults worker,freeze,reload,upgrade,redis,cut"; do \
		set -- $(SOAK_OPTIONS) $$part $(SOAK); \
		echo "check/check $$*"; \
		BUILD=$(BUILD) ./check/check "$$@" || exit; \
	done

types:
	@mkdir -p $(BUILD)
	@./.ci/types $(SCHEMA) > $(BUILD)/types.new
	@mv $(BUILD)/types.new $(TYPES)
	@echo "made $(TYPES)"

man: $(BUILD)/ngx_http_rtbus_module.7

$(BUILD)/ngx_http_rtbus_module.7: .ci/man docs/directives.md package.json CHANGES
	@mkdir -p $(BUILD)
	@./.ci/man > $@.new && mv $@.new $@

clean:
	rm -rf build

.PHONY: all deps test-deps build run test asan asan-unit unit fuzz fuzz-deps \
        fuzz-run valgrind valgrind-deps layers bench soak types man clean deb \
        test-debian12 test-debian13 test-fresh test-deb test-image builds
