# p2pd: `make` builds, `make help` lists the rest.
#
# Nothing here looks at a library before `deps` has run: what asks pkg-config is expanded when a recipe
# needs it, and every object waits for deps-build. SAN= and OUT= choose another output folder, so that
# variants live side by side.

PREFIX ?= /usr/local
DESTDIR ?=
LUA_VERSION := 5.4
LUA := lua$(LUA_VERSION)
ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS ?= -O2 -g
LDFLAGS ?=
DEPS ?= install
SAN ?=

# The one place where the version is written.
VERSION := $(shell sed -n 's/^return "\(.*\)"$$/\1/p' lua/p2pd/version.lua)

comma := ,
OUT := build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
EXE := $(if $(filter build,$(OUT)),p2pd,$(OUT)/bin/p2pd)
CORE := $(OUT)/p2pd/core.so
NETDELAY := $(OUT)/p2pd-netdelay

unexport LUA_PATH LUA_CPATH LUA_INIT LUA_PATH_5_4 LUA_CPATH_5_4 LUA_INIT_5_4

all: $(EXE) $(CORE) $(NETDELAY)

# -- what has to be installed ---------------------------------------------------------------------------

DEPS_build := libc6-dev lua5.4 liblua5.4-dev pkg-config libev-dev libssl-dev libpaho-mqtt-dev libedit-dev \
	libnetfilter-queue-dev libminiupnpc-dev libnatpmp-dev libmicrohttpd-dev libpcre2-dev libqrencode-dev \
	lua-dkjson lua-argparse
DEPS_demo := mosquitto coturn chrony openssl iproute2 nftables iptables
DEPS_test := curl lua-busted lua-filesystem mosquitto-clients microsocks tinyproxy-bin miniupnpd-nftables \
	tayga lua-luv
DEPS_all := openssh-client openssh-server lua-check clang-format cppcheck lua-ldoc lua-discount lua-cqueues \
	clang libclang-rt-14-dev \
	binutils dpkg-dev groff-base
# For `make interop` alone. npm comes with the nodejs of other sources, and is not asked for then.
DEPS_interop := golang-go golang-github-hashicorp-yamux-dev \
	$(if $(shell command -v npm 2>/dev/null),,nodejs npm)

# For the page's specs in a browser: some 400 MB, so `make test` goes without, skips and counts them.
DEPS_browser := chromium chromium-driver fonts-dejavu-core

# `DEPS=check` names what is missing instead of installing it: for builds that are nobody's to change
# the machine with, such as LuaRocks'. One at a time, so that two apt-gets never meet under -j.
deps-demo: deps-build
deps-test: deps-demo
deps-all: deps-test
deps: deps-all deps-browser
deps-browser: deps-test

deps-build deps-demo deps-test deps-all deps-browser deps-interop: deps-%:
	@command -v dpkg-query >/dev/null || exit 0; \
	have=" $$(dpkg-query -W -f '$${Package} $${db:Status-Status}\n' $(DEPS_$*) 2>/dev/null | \
		sed -n 's/ installed$$//p' | tr '\n' ' ') "; \
	missing= sudo=; \
	for package in $(DEPS_$*); do \
		case "$$have" in *" $$package "*) ;; *) missing="$$missing $$package" ;; esac; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$(DEPS)" = check ]; then \
		echo "p2pd needs these Debian packages: apt-get install$$missing" >&2; exit 1; \
	fi; \
	echo "installing:$$missing"; \
	[ "$$(id -u)" = 0 ] || sudo=sudo; \
	export DEBIAN_FRONTEND=noninteractive; \
	$$sudo apt-get update -q && \
	$$sudo apt-get install -qy --no-install-recommends $$missing

# -- the build ------------------------------------------------------------------------------------------

SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
# What makes a fault harder to exploit. FORTIFY needs an optimizer, and is in the sanitizers' way.
FORTIFY := $(if $(SAN),,$(if $(filter -O1 -O2 -O3 -Os,$(CFLAGS)),-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2))
CONTROL_FLOW_x86_64 := -fcf-protection
CONTROL_FLOW_aarch64 := -mbranch-protection=standard
CONTROL_FLOW = $(CONTROL_FLOW_$(firstword $(subst -, ,$(shell $(CC) -dumpmachine))))
HARDENING = -fstack-protector-strong -fstack-clash-protection $(CONTROL_FLOW) $(FORTIFY)
HARDENED_LINK := -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
LUA_CFLAGS = $(if $(LUA_INCDIR),-I$(LUA_INCDIR),$(shell pkg-config --cflags $(LUA)))
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -MMD -MP $(WARNINGS) \
	$(LUA_CFLAGS) -I. $(SAN_FLAGS) $(CFLAGS) $(HARDENING)
ALL_LDFLAGS = $(SAN_FLAGS) $(HARDENED_LINK) $(LDFLAGS)
LIBS := -lev -lssl -lcrypto -lm -lpthread
# All of liblua, for the C modules that a script may require.
LUA_LIBS = -Wl,--whole-archive -l:lib$(LUA).a -Wl,--no-whole-archive -ldl

# paho without TLS, with calls that are ours instead: host/mqtt/paho/calls.c says why. Its version as a
# number: 1.3.12 is 10312.
PAHO := $(OUT)/paho.a
PAHO_FILE = $(shell $(CC) -print-file-name=libpaho-mqtt3a.a)
PAHO_CALLS := connect socket getenv poll usleep pthread_cond_signal pthread_cond_timedwait
PAHO_VERSION = $(shell strings $(PAHO_FILE) | \
	awk -F '[ .]' '/^MQTTAsyncV3_Version / { print $$2 * 10000 + $$3 * 100 + $$4 }')
PAHO_LIBS = $(PAHO) -Wl,--exclude-libs,$(notdir $(PAHO))

SOURCES := $(wildcard host/*.c host/*/*.c host/*/*/*.c bindings/*.c)
OBJECTS := $(patsubst %.c,$(OUT)/obj/%.o,$(filter-out host/main.c,$(SOURCES)))
EXE_OBJECTS := $(OUT)/obj/host/main.o $(OUT)/obj/embedded.o
LUA_SOURCES := $(sort $(wildcard lua/p2pd/*.lua lua/p2pd/*/*.lua lua/p2pd/*/*/*.lua scripts/*.lua))
LUA_MODULES := dkjson argparse
PAGE_FILES := $(sort $(wildcard lua/p2pd/http/page/*.*))

# Rewritten only when its text changes, so that what depends on it is made anew just then.
define keep
	@mkdir -p $(@D)
	@printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' >$@
endef

$(OUT)/flags: always | deps-build
	$(call keep,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(LIBS) $(PAHO_CALLS))

$(OUT)/sources: always
	$(call keep,$(LUA_SOURCES) $(PAGE_FILES) $(SOURCES))

$(OUT)/obj/%.o: %.c $(OUT)/flags | deps-build
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(PAHO): $(OUT)/flags | deps-build
	objcopy $(foreach call,$(PAHO_CALLS),--redefine-sym $(call)=paho_$(call)) $(PAHO_FILE) $@

$(OUT)/obj/host/mqtt/paho/calls.o: private ALL_CFLAGS += -DPAHO_VERSION=$(PAHO_VERSION)

$(OUT)/obj/embedded.o: $(OUT)/embedded.c $(OUT)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

# What C comments say of p2pd.core, for help() at the prompt.
CORE_DOCS := $(OUT)/core_docs.lua

$(CORE_DOCS): host/core_docs.lua $(wildcard bindings/*.c) | deps-build
	@mkdir -p $(@D)
	$(LUA) host/core_docs.lua $(wildcard bindings/*.c) >$@

$(OUT)/embedded.c: host/embed.lua $(LUA_SOURCES) $(PAGE_FILES) $(CORE_DOCS) $(OUT)/sources | deps-build
	$(LUA) host/embed.lua $@ $(LUA_SOURCES) $(PAGE_FILES) $(LUA_MODULES) p2pd.core.docs=$(CORE_DOCS)

$(CORE): $(OBJECTS) $(PAHO) $(OUT)/flags $(OUT)/sources
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -shared -o $@ $(OBJECTS) $(PAHO_LIBS) $(LIBS)

$(EXE): $(OBJECTS) $(EXE_OBJECTS) $(PAHO) $(OUT)/flags $(OUT)/sources
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -pie -rdynamic -o $@ $(OBJECTS) $(EXE_OBJECTS) $(PAHO_LIBS) $(LUA_LIBS) $(LIBS)

# What only specs need of the machines of host/, for Lua. link.c and carrier.c tie a machine to its transport.
SPEC_NATIVE := $(patsubst spec/native/%.c,$(OUT)/spec/%.so,$(wildcard spec/native/*.c))
SPEC_NATIVE_OBJECTS := $(OUT)/obj/bindings/bind.o $(OUT)/obj/host/buffer.o $(OUT)/obj/host/reliable.o \
	$(patsubst %.c,$(OUT)/obj/%.o,$(filter-out %/link.c %/carrier.c,$(wildcard host/mux/*.c host/reliable/*.c host/session/*.c)))

$(OUT)/spec/%.so: $(OUT)/obj/spec/native/%.o $(SPEC_NATIVE_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -shared -o $@ $^ -lcrypto -lm

# The lab's delays, a program of its own: it runs in another network namespace.
NETDELAY_OBJECTS := $(patsubst %.c,$(OUT)/obj/%.o,$(wildcard netdelay/*.c))

$(NETDELAY): $(NETDELAY_OBJECTS) $(OUT)/flags
	$(CC) $(ALL_LDFLAGS) -pie -o $@ $(NETDELAY_OBJECTS) -lnetfilter_queue -lnfnetlink

-include $(OBJECTS:.o=.d) $(SPEC_NATIVE:$(OUT)/spec/%.so=$(OUT)/obj/spec/native/%.d) $(EXE_OBJECTS:.o=.d) $(NETDELAY_OBJECTS:.o=.d)

# -- running --------------------------------------------------------------------------------------------

# The specs' keys and contacts are theirs, never the user's.
RUN_ENV := P2PD_EXE=$(abspath $(EXE)) XDG_DATA_HOME=$(abspath $(OUT))/data XDG_CONFIG_HOME=$(abspath $(OUT))/config \
	XDG_STATE_HOME=$(abspath $(OUT))/state LUA_PATH="lua/?.lua;lua/?/init.lua;./?.lua;;" LUA_CPATH="$(OUT)/?.so;;"
SPECS = $(wildcard spec/*_spec.lua spec/lab/*_spec.lua spec/regress/*_spec.lua)
JOBS ?=
SUITE = spec/suite.lua -o $(OUT) $(if $(JOBS),-j $(JOBS))

# A sanitizer's library must be there before the interpreter that loads core.so. Children of the specs
# (shells, servers) get it as well, so it looks for leaks when spec/report.lua asks, not at every exit.
RUNTIME_address := libasan.so
RUNTIME_undefined := libubsan.so
RUNTIME_leak := liblsan.so
RUNTIME_thread := libtsan.so
RUNTIMES = $(foreach s,$(subst $(comma), ,$(SAN)),$(shell $(CC) -print-file-name=$(RUNTIME_$(s))))
SAN_ENV = $(if $(SAN),LD_PRELOAD="$(RUNTIMES)" P2PD_SAN="$(SAN)" UBSAN_OPTIONS=print_stacktrace=1 \
	ASAN_OPTIONS=detect_leaks=1:leak_check_at_exit=0:detect_stack_use_after_return=1)

# ThreadSanitizer's library is not for children, dash does not live with it: there every lua5.4, found in
# PATH, gets it, and nobody else. (The other sanitizers' specs know that children have theirs.)
SAN_LUA := $(OUT)/sanitized/$(LUA)
ifeq ($(SAN),thread)
SAN_ENV = PATH="$(abspath $(dir $(SAN_LUA))):$$PATH" P2PD_SAN="$(SAN)" P2PD_SPEC_LUA=$(LUA) \
	TSAN_OPTIONS=halt_on_error=0:second_deadlock_stack=1
test: $(SAN_LUA)
endif

$(OUT)/sanitized/unpreload.so: spec/sanitizer/unpreload.c
	@mkdir -p $(@D)
	$(CC) $(WARNINGS) -fPIC -shared -o $@ $<

$(SAN_LUA): $(OUT)/sanitized/unpreload.so
	printf '#!/bin/sh\nLD_PRELOAD="%s %s" exec %s "$$@"\n' "$(RUNTIMES)" $(abspath $<) "$$(command -v $(LUA))" >$@
	chmod +x $@

demo: all | deps-demo
	./$(EXE) demo

test: all man $(SPEC_NATIVE) | deps-test
	@$(RUN_ENV) $(SAN_ENV) $(LUA) $(SUITE) $(SPECS)

# The specs of what has threads: the broker clients, the punches, the resolver; and nodes as they are used. One
# after the other: punches have instants to keep, and ThreadSanitizer is slow.
THREAD_SPECS = $(wildcard spec/mqtt*_spec.lua) spec/punch_spec.lua spec/punch_close_spec.lua spec/inet_spec.lua \
	spec/attacks_spec.lua spec/attacks_connect_spec.lua
test-threads:
	@$(MAKE) --no-print-directory test SAN=thread JOBS=1 SPECS="$(THREAD_SPECS)"

# Histories of a session whose paths break at random, in virtual time; `make test` tries a thousand.
HISTORIES ?= 100000
histories: all $(SPEC_NATIVE) | deps-test
	@$(RUN_ENV) $(SAN_ENV) P2PD_SESSION_HISTORIES=$(HISTORIES) P2PD_SPEC_SECONDS=3600 $(LUA) $(SUITE) \
		spec/session_machine_spec.lua

# The mux with others' implementations of yamux. What cannot be had is skipped, and counted.
INTEROP := $(OUT)/interop
INTEROP_PACKAGE := @chainsafe/libp2p-yamux
interop: all | deps-test
	@-$(MAKE) --no-print-directory deps-interop
	@mkdir -p $(INTEROP)
	@-GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$(abspath $(INTEROP))/go-cache \
		go build -o $(INTEROP)/yamux_go spec/interop/yamux_peer.go
	@-[ -d $(INTEROP)/node_modules/$(INTEROP_PACKAGE) ] || \
		npm install --prefix $(INTEROP) --no-audit --no-fund --no-save --ignore-scripts $(INTEROP_PACKAGE)@8
	@cp spec/interop/yamux_peer.mjs $(INTEROP)
	@$(RUN_ENV) $(SAN_ENV) P2PD_INTEROP=$(INTEROP) $(LUA) spec/run.lua -o spec/report.lua spec/interop/yamux_spec.lua

# The page in a real browser, here and behind NATs; screenshots in build/screens. axe looks at it, too, where npm can
# be had.
BROWSER := $(OUT)/browser
browser: all | deps-browser
	@-[ -d $(BROWSER)/node_modules/axe-core ] || ! command -v npm >/dev/null || \
		npm install --prefix $(BROWSER) --no-audit --no-fund --no-save --ignore-scripts axe-core@4
	@$(RUN_ENV) $(SAN_ENV) P2PD_AXE=$(BROWSER)/node_modules/axe-core/axe.min.js $(LUA) spec/run.lua \
		-o spec/report.lua spec/http_page_spec.lua spec/lab/page_spec.lua

# Every cycle of the collector starts as soon as the last one has ended, and moves with each few bytes. That
# needs a processor for each file.
gcstress: all man $(SPEC_NATIVE) | deps-test
	@$(RUN_ENV) P2PD_SPEC_SECONDS=3600 $(LUA) $(SUITE) $(if $(JOBS),,-j "$$(nproc)") \
		-e "collectgarbage('incremental', 1, 1000, 6)" $(SPECS)

bench: all | deps-all
	@$(RUN_ENV) $(LUA) spec/bench/run.lua

matrix: all | deps-test
	@$(RUN_ENV) $(LUA) spec/lab/matrix.lua

matrix-nat: all | deps-test
	@$(RUN_ENV) $(LUA) spec/lab/matrix_nat.lua

rungs: all | deps-test
	@$(RUN_ENV) $(LUA) spec/lab/rungs.lua

# -- fuzzers ----------------------------------------------------------------------------------------------

# Each spec/fuzz/NAME_fuzz.c starts from spec/fuzz/corpus/NAME. What it finds on the way stays in the output
# folder, and so does the input that fails.
FUZZ_SECONDS ?= 60
FUZZERS = $(patsubst spec/fuzz/%_fuzz.c,%,$(wildcard spec/fuzz/*_fuzz.c))
FUZZ_FLAGS = -std=c11 -D_GNU_SOURCE -MMD -MP $(LUA_CFLAGS) -I. -g -O1 -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_OBJECTS = $(patsubst %.c,$(OUT)/fuzz/%.o,$(filter-out host/main.c,$(SOURCES)))

fuzz: $(FUZZERS:%=fuzz-%)

$(FUZZERS:%=fuzz-%): fuzz-%: $(OUT)/fuzz/%
	@mkdir -p $(OUT)/fuzz/corpus/$*
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -verbosity=0 -print_final_stats=1 \
		-artifact_prefix=$(OUT)/fuzz/$*- $(OUT)/fuzz/corpus/$* $(wildcard spec/fuzz/corpus/$*)

$(FUZZ_OBJECTS): $(OUT)/fuzz/%.o: %.c | deps-all
	@mkdir -p $(@D)
	clang $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -c -o $@ $<

$(OUT)/fuzz/host.a: $(FUZZ_OBJECTS)
	rm -f $@
	ar rcs $@ $^

$(OUT)/fuzz/%: spec/fuzz/%_fuzz.c $(OUT)/fuzz/host.a $(PAHO)
	clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $< $(OUT)/fuzz/host.a $(PAHO_LIBS) $(LUA_LIBS) $(LIBS)

-include $(wildcard $(OUT)/fuzz/*.d $(OUT)/fuzz/*/*.d $(OUT)/fuzz/*/*/*.d)

# -- the code itself ------------------------------------------------------------------------------------

C_FILES = $(wildcard host/*.[ch] host/*/*.[ch] host/*/*/*.[ch] bindings/*.[ch] netdelay/*.[ch] spec/*/*.[ch])

lint: lint-lua lint-directions lint-format lint-c

lint-lua: | deps-all
	@luacheck -q --no-color .

# Which file may know which.
lint-directions: | deps-all
	@$(LUA) spec/lint/directions.lua

lint-format: | deps-all
	@clang-format --dry-run -Werror $(C_FILES)

lint-c: | deps-all
	@cppcheck -q -j 2 --std=c11 --language=c --enable=warning,performance,portability --inline-suppr \
		--library=lua --error-exitcode=1 -D__linux__ -I. $(filter %.c,$(C_FILES))

format: | deps-all
	clang-format -i $(C_FILES)

# The manual and the completion are made of what `--help` is made of.
MAN := $(OUT)/p2pd.1
COMPLETION := $(OUT)/p2pd.bash
$(MAN) $(COMPLETION): $(if $(filter thread,$(SAN)),$(SAN_LUA))

man: $(MAN) $(COMPLETION)

$(MAN): docs/man.lua docs/commands.lua $(LUA_SOURCES) $(CORE)
	@$(RUN_ENV) $(SAN_ENV) $(LUA) $< >$@

$(COMPLETION): docs/completion.lua docs/commands.lua $(LUA_SOURCES) $(CORE)
	@$(RUN_ENV) $(SAN_ENV) $(LUA) $< >$@

docs: picture | deps-all
	@rm -rf build/docs/api
	@ldoc -q --fatalwarnings -c docs/config.ld -d $(CURDIR)/build/docs/api . >/dev/null
	@ldoc -q --fatalwarnings -c docs/core.ld -d $(CURDIR)/build/docs/api/core . >/dev/null
	@echo build/docs/api/index.html

# The README's picture: what p2pd says in the lab. It stays as it is where there can be none.
picture: all | deps-demo
	@mkdir -p build/docs
	@! $(RUN_ENV) $(LUA) docs/terminal.lua >build/docs/terminal.svg || cp build/docs/terminal.svg docs

# -- installing -----------------------------------------------------------------------------------------

BINDIR = $(PREFIX)/bin
LIBDIR = $(PREFIX)/lib/lua/$(LUA_VERSION)
LUADIR = $(PREFIX)/share/lua/$(LUA_VERSION)

MANDIR = $(PREFIX)/share/man
COMPLETIONDIR = $(PREFIX)/share/bash-completion/completions
DOCDIR = $(PREFIX)/share/doc/p2pd
DOCUMENTS = README.md LICENSE CHANGELOG.md CONTRIBUTING.md
PAGES = $(wildcard docs/*.md docs/*.svg)
EXAMPLES = $(wildcard examples/*.*)
GUIDE = $(wildcard docs/guide/*.md)
CONTRIB = $(wildcard contrib/*.*)

install: all man
	install -D -m 755 $(EXE) "$(DESTDIR)$(BINDIR)/p2pd"
	install -D -m 755 $(NETDELAY) "$(DESTDIR)$(BINDIR)/p2pd-netdelay"
	install -D -m 644 $(CORE) "$(DESTDIR)$(LIBDIR)/p2pd/core.so"
	@cd lua && find p2pd -type f -exec \
		sh -c 'for f; do install -D -m 644 "$$f" "$$0/$$f" || exit 1; done' "$(abspath_luadir)" {} +
	install -D -m 644 $(MAN) "$(DESTDIR)$(MANDIR)/man1/p2pd.1"
	install -D -m 644 $(COMPLETION) "$(DESTDIR)$(COMPLETIONDIR)/p2pd"
	install -D -m 644 -t "$(DESTDIR)$(DOCDIR)" $(DOCUMENTS)
	install -D -m 644 -t "$(DESTDIR)$(DOCDIR)/docs" $(PAGES)
	$(if $(EXAMPLES),install -D -m 644 -t "$(DESTDIR)$(DOCDIR)/examples" $(EXAMPLES))
	$(if $(GUIDE),install -D -m 644 -t "$(DESTDIR)$(DOCDIR)/docs/guide" $(GUIDE))
	$(if $(CONTRIB),install -D -m 644 -t "$(DESTDIR)$(DOCDIR)/contrib" $(CONTRIB))

abspath_luadir = $(abspath $(DESTDIR)$(LUADIR))

# -- packages -------------------------------------------------------------------------------------------

# Packages go to BUILD; DIST_URL is where the tarball can be had, for the rockspec that builds from it.
BUILD ?= build
DIST_URL ?= file://$(abspath $(BUILD))
DIST := p2pd-$(VERSION)

# What git knows; in a tree without git, all that was not built.
list_files = if [ -e .git ] && git ls-files 2>/dev/null; then :; else \
	find . -path ./build -prune -o -path ./p2pd -prune -o -name .git -prune -o -type f -print | sed 's,^\./,,'; fi
dist_time = $${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Makefile)}

dist:
	@mkdir -p "$(BUILD)"
	@{ $(list_files); } | LC_ALL=C sort | tar --create --files-from - --transform 's,^,$(DIST)/,' \
		--mtime "@$(dist_time)" --owner 0 --group 0 --numeric-owner --format ustar | \
		gzip -9n >"$(BUILD)/$(DIST).tar.gz"
	@sed -e 's,^version = .*,version = "$(VERSION)-1",' \
		-e 's,^source = .*,source = { url = "$(DIST_URL)/$(DIST).tar.gz"\, dir = "$(DIST)" },' \
		p2pd-scm-1.rockspec >"$(BUILD)/$(DIST)-1.rockspec"
	@echo "$(BUILD)/$(DIST).tar.gz $(BUILD)/$(DIST)-1.rockspec"

deb: all man | deps-all
	@rm -rf "$(BUILD)/deb"
	@$(MAKE) -s -o all -o man install DESTDIR="$(abspath $(BUILD))/deb" PREFIX=/usr \
		LIBDIR="/usr/lib/$$($(CC) -print-multiarch)/lua/$(LUA_VERSION)"
	@packaging/deb.sh $(VERSION) "$(BUILD)" "$(BUILD)/deb"

clean:
	rm -rf build p2pd

help:
	@echo 'make                 builds ./p2pd and build/p2pd/core.so (installs what is missing first)'
	@echo 'make demo            two peers, connected in every way: on loopback, and behind two NATs'
	@echo 'make test            the specs; SAN=address,undefined runs them under the sanitizers'
	@echo 'make test-threads    the specs of what has threads, under ThreadSanitizer'
	@echo 'make histories       HISTORIES=100000 sessions whose paths break at random, in virtual time'
	@echo 'make gcstress        the specs with the garbage collector always at work'
	@echo 'make interop         the mux with implementations of yamux that others wrote (Go, JavaScript)'
	@echo 'make browser         the web page in Chromium (installs it first); screenshots in build/screens'
	@echo 'make matrix          every NAT dials every NAT by punching; resumable; table in build/matrix.html'
	@echo 'make matrix-nat      every NAT of the lab recognised, P2PD_RUNS=20 times at two latencies'
	@echo 'make rungs           connect and 200 kB there and back on lines of nine kinds, P2PD_TRIES=20 times each'
	@echo 'make fuzz            every parser, for FUZZ_SECONDS=60 each'
	@echo 'make lint            luacheck, directions of includes and requires, clang-format, cppcheck; `make format` formats'
	@echo 'make bench           speed and memory'
	@echo 'make docs            the API pages in build/docs/api, and the picture of the README'
	@echo 'make picture         the picture of the README alone, recorded in the lab'
	@echo 'make man             p2pd(1) in build/p2pd.1, and completion for bash in build/p2pd.bash'
	@echo 'make deps            installs every Debian package that any of these needs'
	@echo 'make install         into PREFIX (/usr/local), under DESTDIR'
	@echo 'make dist            build/$(DIST).tar.gz, and a rockspec that builds from it (at DIST_URL)'
	@echo 'make deb             a Debian package, for `apt install ./build/p2pd_*.deb`'
	@echo 'make clean           removes what was built'

always:

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all always bench browser clean deb demo deps deps-all deps-browser deps-build deps-demo deps-test dist docs format \
	fuzz gcstress help histories install interop lint lint-c lint-directions lint-format lint-lua man matrix matrix-nat \
	picture rungs test test-threads
