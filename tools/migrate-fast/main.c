// SPDX-License-Identifier: GPL-2.0
/* migrate-fast: moves running QEMU/KVM VMs to other hosts. Command line. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/loop.h"
#include "../lib/say.h"
#include "../lib/size.h"
#include "../store/command.h"
#include "../store/policy.h"
#include "address.h"
#include "hello.h"
#include "options.h"
#include "version.h"

enum {
	OPT_QMP = 256, OPT_TO, OPT_LISTEN, OPT_REPORT, OPT_SESSION, OPT_WORD,
	OPT_MAX_DOWNTIME, OPT_DOWNTIME_LIMIT, OPT_MAX_ROUNDS,
	OPT_MAX_BANDWIDTH, OPT_TIMEOUT, OPT_LINGER, OPT_FORCE, OPT_VERIFY,
	OPT_JSON, OPT_NO_MEMORY_CHECK, OPT_BACK, OPT_MODE, OPT_ALLOW_POSTCOPY,
	OPT_NO_POSTCOPY, OPT_RESUME, OPT_MIN_BANDWIDTH, OPT_THROTTLE,
	OPT_STORE, OPT_NO_STORE, OPT_COMPRESS,
	OPT_KEEP, OPT_LAZY, OPT_CONF, OPT_SOURCE, OPT_PID, OPT_NICE,
};

const char *argp_program_version = "migrate-fast " MIGRATE_FAST_VERSION;

#define QMP_OPTION \
	{ "qmp", OPT_QMP, "PATH", 0, "QMP socket of the VM's QEMU", 0 }
#define TIMEOUT_OPTION \
	{ "timeout", OPT_TIMEOUT, "MS", 0, \
	  "The other side is lost after so long without a sign of life (default 10000, at least 3000)", 0 }
#define NICE_OPTION \
	{ "nice", OPT_NICE, "N", 0, \
	  "Niceness, from -20 to 19 (default -10, ahead of VMs that leave too little of the processors; 0: like other processes)", 0 }
#define CONF_OPTION \
	{ "conf", OPT_CONF, "FILE", 0, \
	  "Who may share with whom (default " POLICY_FILE ")", 0 }
#define JSON_OPTION \
	{ "json", OPT_JSON, NULL, 0, \
	  "One JSON object per event and line on standard output; the last is the result", 0 }

static const struct argp_option send_options[] = {
	QMP_OPTION,
	{ "to", OPT_TO, "HOST:PORT", 0,
	  "Where \"migrate-fast recv\" listens", 0 },
	{ "mode", OPT_MODE, "MODE", 0,
	  "auto (default), precopy, postcopy, three-stage or hybrid. In all but precopy the VM may run over there before all of its memory has followed: a destination that dies in that phase takes the VM with it", 0 },
	{ "allow-postcopy", OPT_ALLOW_POSTCOPY, NULL, 0,
	  "With auto: let memory follow the VM as soon as that promises to be faster, not only if nothing else meets --max-downtime", 0 },
	{ "no-postcopy", OPT_NO_POSTCOPY, NULL, 0,
	  "With auto: never let memory follow the VM", 0 },
	{ "resume", OPT_RESUME, NULL, 0,
	  "Bring a VM that runs over there the memory that a send which has ended has left here", 0 },
	{ "session", OPT_SESSION, "ID", 0,
	  "With --resume: the session, as that send has named it", 0 },
	{ "max-downtime", OPT_MAX_DOWNTIME, "MS", 0,
	  "Stop the VM when the rest is predicted to take no longer (default 50)", 0 },
	{ "downtime-limit", OPT_DOWNTIME_LIMIT, "MS", 0,
	  "When more rounds do not help, stop the VM if the rest is predicted to take no longer than this (default 1000), else fail", 0 },
	{ "force-switchover", OPT_FORCE, NULL, 0,
	  "... or stop it then however long the rest takes", 0 },
	{ "max-rounds", OPT_MAX_ROUNDS, "N", 0,
	  "Rounds of copying while the VM runs (default 30)", 0 },
	{ "max-bandwidth", OPT_MAX_BANDWIDTH, "RATE", 0,
	  "At most this while the VM runs: 100M (MiB per second), or 800Mbit (default: no limit)", 0 },
	{ "min-bandwidth", OPT_MIN_BANDWIDTH, "RATE", 0,
	  "Begin with this rate, and send each round 50 Mbit/s faster than the VM has written in the last one, up to --max-bandwidth (default: always as fast as allowed)", 0 },
	{ "throttle", OPT_THROTTLE, "MAX%", OPTION_ARG_OPTIONAL,
	  "Where memory must not follow the VM (--mode precopy, --no-postcopy): when rounds do not pay any more, slow the VM's processors down instead of giving up, by up to 99%, or MAX%", 0 },
	{ "keep", OPT_KEEP, NULL, 0,
	  "Keep the VM's RAM file here when the VM has gone: when it comes back only what has changed travels. Bounded in age and size, see store gc", 0 },
	{ "store", OPT_STORE, "DIR", 0,
	  "With --keep: the page store (default " STORE_DIR ")", 0 },
	{ "lazy", OPT_LAZY, NULL, 0,
	  "Pages that a disk image over there has are read from it when the VM runs there, not before. A kind of post-copy: not with --mode precopy or --no-postcopy", 0 },
	{ "compress", OPT_COMPRESS, "HOW", 0,
	  "Compress pages (zstd), and send of those that travel again what has changed: auto (default) measures whether that is faster on this line, on, or off", 0 },
	{ "source", OPT_SOURCE, "WHAT", 0,
	  "What tells which pages the VM writes: events of the page cache, kvm (its dirty log beside them, which slows the VM down less), or auto (default): kvm where that can be had", 0 },
	{ "pid", OPT_PID, "PID", 0,
	  "QEMU's process, for --source=kvm (default: the one that made the QMP socket)", 0 },
	{ "verify", OPT_VERIFY, NULL, 0,
	  "Compare all memory by SHA-256 after the stop (lengthens the downtime), or when all of it has followed", 0 },
	{ "report", OPT_REPORT, "FILE", 0, "Write the result there as JSON", 0 },
	NICE_OPTION, TIMEOUT_OPTION, JSON_OPTION,
	{ 0 }
};

static const struct argp_option recv_options[] = {
	QMP_OPTION,
	{ "listen", OPT_LISTEN, "[ADDR]:PORT", 0, "Where to wait", 0 },
	{ "resume", OPT_RESUME, NULL, 0,
	  "Take over from a recv that has ended while memory of the VM was still at the source", 0 },
	{ "linger", OPT_LINGER, "S", 0,
	  "How long to wait for \"resolve\", or \"send --resume\", if the connection is lost around the commit or later (default 3600)", 0 },
	{ "store", OPT_STORE, "DIR", 0,
	  "The page store: what is in it need not travel (default " STORE_DIR "; see migrate-fast store)", 0 },
	{ "no-store", OPT_NO_STORE, NULL, 0, "Do without", 0 },
	CONF_OPTION,
	{ "no-memory-check", OPT_NO_MEMORY_CHECK, NULL, 0,
	  "Do not refuse a VM for which memory seems too small", 0 },
	NICE_OPTION, TIMEOUT_OPTION, JSON_OPTION,
	{ 0 }
};

static const struct argp_option check_options[] = {
	QMP_OPTION, CONF_OPTION,
	{ 0 }
};

static const struct argp_option resolve_options[] = {
	QMP_OPTION,
	{ "to", OPT_TO, "HOST:PORT", 0, "Where the destination listens", 0 },
	{ "session", OPT_SESSION, "ID", 0, "The session, as send named it", 0 },
	{ "back", OPT_BACK, NULL, 0,
	  "If the VM waits over there, give it up there and run it here", 0 },
	{ "word", OPT_WORD, "source|destination", 0,
	  "The operator's word where the VM runs from now on; asks nobody", 0 },
	TIMEOUT_OPTION,
	{ 0 }
};

static const struct argp_option status_options[] = {
	{ 0 }
};

static const struct argp_option abort_options[] = {
	QMP_OPTION,
	{ 0 }
};

static void parse_number(struct argp_state *state, const char *arg,
			 const char *name, uint64_t min, uint64_t max,
			 uint64_t *number)
{
	if (number_parse(arg, min, max, number))
		argp_error(state, "--%s: \"%s\" is no number from %llu to %llu",
			   name, arg, (unsigned long long)min,
			   (unsigned long long)max);
}

static void parse_nice(struct argp_state *state, const char *arg,
		       struct priority *priority)
{
	bool urgent = *arg == '-';
	uint64_t number;

	if (number_parse(arg + urgent, 0, urgent ? 20 : 19, &number))
		argp_error(state, "--nice: \"%s\" is no number from -20 to 19",
			   arg);
	priority->asked = true;
	priority->nice = urgent ? -(int)number : (int)number;
}

static void parse_throttle(struct argp_state *state, const char *arg,
			   uint64_t *percent)
{
	char digits[4] = "99";

	if (arg && (sscanf(arg, "%3[0-9]", digits) != 1 ||
		    (arg[strlen(digits)] && strcmp(arg + strlen(digits), "%"))))
		argp_error(state, "--throttle: \"%s\" is no percentage", arg);
	parse_number(state, digits, "throttle", 1, 99, percent);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case OPT_QMP:
		options->qmp = arg;
		break;
	case OPT_TO:
		options->to = arg;
		break;
	case OPT_LISTEN:
		options->listen = arg;
		break;
	case OPT_REPORT:
		options->report = arg;
		break;
	case OPT_SESSION:
		if (!hello_is_session(arg))
			argp_error(state, "--session: \"%s\" is no session: 32 hexadecimal digits, as send names it",
				   arg);
		options->session = arg;
		break;
	case OPT_WORD:
		if (strcmp(arg, "source") && strcmp(arg, "destination"))
			argp_error(state, "--word: source or destination");
		options->word = arg;
		break;
	case OPT_MAX_DOWNTIME:
		parse_number(state, arg, "max-downtime", 1, 3600000,
			     &options->max_downtime);
		break;
	case OPT_DOWNTIME_LIMIT:
		parse_number(state, arg, "downtime-limit", 1, 3600000,
			     &options->downtime_limit);
		break;
	case OPT_MAX_ROUNDS:
		parse_number(state, arg, "max-rounds", 1, 10000,
			     &options->max_rounds);
		break;
	case OPT_MAX_BANDWIDTH:
		if (size_parse(arg, &options->max_bandwidth))
			argp_error(state, "--max-bandwidth: \"%s\" is no rate; write 100M (bytes per second) or 800Mbit",
				   arg);
		break;
	case OPT_MIN_BANDWIDTH:
		if (size_parse(arg, &options->min_bandwidth))
			argp_error(state, "--min-bandwidth: \"%s\" is no rate; write 10M (bytes per second) or 80Mbit",
				   arg);
		break;
	case OPT_MODE:
		options->mode = mode_find(arg);
		if (options->mode == MODES)
			argp_error(state, "--mode: \"%s\" is none of auto, precopy, postcopy, three-stage, hybrid",
				   arg);
		break;
	case OPT_COMPRESS:
		options->compress = compress_find(arg);
		if (options->compress == COMPRESSES)
			argp_error(state, "--compress: \"%s\" is none of auto, on, off",
				   arg);
		break;
	case OPT_KEEP:
		options->keep = true;
		break;
	case OPT_SOURCE:
		options->source = tracker_find(arg);
		if (options->source == TRACKERS)
			argp_error(state, "--source: \"%s\" is none of auto, events, kvm",
				   arg);
		break;
	case OPT_PID:
		parse_number(state, arg, "pid", 1, INT32_MAX, &options->pid);
		break;
	case OPT_NICE:
		parse_nice(state, arg, &options->priority);
		break;
	case OPT_LAZY:
		options->lazy = true;
		break;
	case OPT_ALLOW_POSTCOPY:
		options->allow_postcopy = true;
		break;
	case OPT_NO_POSTCOPY:
		options->no_postcopy = true;
		break;
	case OPT_STORE:
		options->store = arg;
		break;
	case OPT_NO_STORE:
		options->store = NULL;
		break;
	case OPT_CONF:
		options->conf = arg;
		break;
	case OPT_RESUME:
		options->resume = true;
		break;
	case OPT_TIMEOUT:
		parse_number(state, arg, "timeout", 3000, 3600000,
			     &options->timeout);
		break;
	case OPT_LINGER:
		parse_number(state, arg, "linger", 0, 1000000000,
			     &options->linger);
		break;
	case OPT_FORCE:
		options->force_switchover = true;
		break;
	case OPT_THROTTLE:
		parse_throttle(state, arg, &options->throttle);
		break;
	case OPT_VERIFY:
		options->verify = true;
		break;
	case OPT_JSON:
		options->json = true;
		break;
	case OPT_NO_MEMORY_CHECK:
		options->no_memory_check = true;
		break;
	case OPT_BACK:
		options->back = true;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is too much (the value of an option that needs none is written --option=VALUE)",
			   arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

#define EXIT_DOC \
	"\nExit status: 0 moved, 1 failed and the VM runs at the source, " \
	"2 usage error, 3 state unknown (see resolve), " \
	"4 failed and the VM could not be resumed at the source, " \
	"5 the VM runs at the destination and some of its memory is still " \
	"here (see --resume, and what the last message says)."

static const struct command {
	const char *name;
	int (*run)(const struct options *options);
	struct argp argp;
} commands[] = {
	{ "send", cmd_send, {
		.options = send_options, .parser = parse,
		.doc = "Moves the running VM of the QEMU at --qmp to another host.\v"
		"Example:\n"
		"  migrate-fast send --qmp /run/vm1.qmp --to host2:7700\n"
		"  migrate-fast send --qmp /run/vm1.qmp --to host2:7700 --mode three-stage\n"
		"  migrate-fast send --qmp /run/vm1.qmp --to host2:7700 \\\n"
		"      --mode precopy --throttle=80%\n"
		"  migrate-fast send --resume --qmp /run/vm1.qmp --to host2:7700 --session ID\n"
		EXIT_DOC } },
	{ "recv", cmd_recv, {
		.options = recv_options, .parser = parse,
		.doc = "Takes over a VM into the QEMU at --qmp, which was started with -incoming defer.\v"
		"Example:\n"
		"  migrate-fast recv --qmp /run/vm1.qmp --listen :7700\n"
		"\nExit status: 0 the VM runs here, 1 it was not taken over "
		"(or has ended here since), 2 usage error, 3 the VM waits "
		"here, paused, and nobody has said whether it may run, "
		"5 the VM runs here and some of its memory is still at the "
		"source (see --resume)." } },
	{ "check", cmd_check, {
		.options = check_options, .parser = parse,
		.doc = "Tells whether this host, and with --qmp this VM, is ready, and what to change if not.\v"
		"Exit status: 0 ready, 1 not." } },
	{ "resolve", cmd_resolve, {
		.options = resolve_options, .parser = parse,
		.doc = "Ends the state \"unknown\": asks the destination what became of the VM.\v"
		"Example:\n"
		"  migrate-fast resolve --qmp /run/vm1.qmp --to host2:7700 --session ID\n"
		"\nExit status: 0 the VM runs at the destination, 1 it runs, "
		"or stays, at the source, 2 usage error, 3 still unknown, "
		"5 it runs at the destination and needs memory from here." } },
	{ "abort", cmd_abort, {
		.options = abort_options, .parser = parse,
		.doc = "Gives up a VM here whose memory is still at a source that will not come back: what waits for it gets SIGBUS, so that QEMU can end.\v"
		"Example:\n"
		"  migrate-fast abort --qmp /run/vm1.qmp\n"
		"\nExit status: 0 given up, 1 not." } },
	{ "status", cmd_status, {
		.options = status_options, .parser = parse,
		.doc = "Tells what the module does here right now: sessions, their RAM files, and what tells which pages are written.\v"
		"Exit status: 0, or 1 if the module cannot be asked." } },
};

#define NR_COMMANDS	(sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *out)
{
	fputs("Usage: migrate-fast COMMAND [OPTION...]\n"
	      "Moves running QEMU/KVM VMs whose RAM lies in files of mfram.\n"
	      "\n"
	      "  send      move a VM from here\n"
	      "  recv      take a VM over here\n"
	      "  check     is this host, is this VM ready?\n"
	      "  resolve   after a lost connection: where does the VM run?\n"
	      "  abort     give up a VM here whose memory will never be complete\n"
	      "  status    what the module does here right now\n"
	      "  store     where VMs that come here find pages that need not travel\n"
	      "\n"
	      "Example, from host1 to host2:\n"
	      "  host2# qemu-system-x86_64 ... -qmp unix:/run/vm1.qmp,server=on,wait=off -incoming defer\n"
	      "  host2# migrate-fast recv --qmp /run/vm1.qmp --listen :7700\n"
	      "  host1# migrate-fast send --qmp /run/vm1.qmp --to host2:7700\n"
	      "\n"
	      "migrate-fast COMMAND --help tells the options. See also migrate-fast(8).\n"
	      "Exit status: 0 moved, 1 failed and the VM runs at the source, 2 usage error,\n"
	      "3 state unknown, 4 failed and the VM could not be resumed at the source, 5 moved,\n"
	      "but some of its memory is still at the source.\n",
	      out);
}

/* What a command cannot do without. */
static void require(const struct command *command,
		    const struct options *options)
{
	const char *missing = NULL;

	if (command->run == cmd_check || command->run == cmd_status)
		return;
	if (!options->qmp)
		missing = "--qmp PATH";
	else if (command->run == cmd_send && !options->to)
		missing = "--to HOST:PORT";
	else if (command->run == cmd_send && options->resume &&
		 !options->session)
		missing = "--session ID with --resume";
	else if (command->run == cmd_recv && !options->listen)
		missing = "--listen [ADDR]:PORT";
	else if (command->run == cmd_resolve && !options->word &&
		 (!options->to || !options->session))
		missing = "--to HOST:PORT and --session ID, or --word";
	else if (command->run == cmd_send && options->session &&
		 !options->resume)
		missing = "--resume with --session";
	else if (command->run == cmd_resolve && options->word && options->back)
		missing = "--back or --word, not both";
	else if (command->run == cmd_send && options->no_postcopy &&
		 (options->allow_postcopy || (options->mode != MODE_AUTO &&
		  mode_may_split(options->mode))))
		missing = "--mode auto or precopy with --no-postcopy, and no --allow-postcopy";
	else if (command->run == cmd_send && options->lazy &&
		 (options->resume || options->no_postcopy ||
		  !mode_may_split(options->mode)))
		missing = "a mode in which memory may follow the VM with --lazy (not --mode precopy, --no-postcopy, --resume)";
	/* Nobody is slowed for what can simply follow. */
	else if (command->run == cmd_send && options->throttle &&
		 (options->resume || (options->mode == MODE_AUTO ?
		  !options->no_postcopy : mode_may_split(options->mode))))
		missing = "--mode precopy, or --no-postcopy with --mode auto, with --throttle: otherwise the memory of a VM that writes too fast follows it";
	if (!missing)
		return;
	fprintf(stderr, "migrate-fast: %s needs %s; see migrate-fast %s --help\n",
		command->name, missing, command->name);
	exit(EXIT_USAGE);
}

/* Said before anything is begun. */
static void prepare(const struct command *command,
		    const struct options *options)
{
	bool moves = command->run == cmd_send || command->run == cmd_recv;

	if ((!options->to || !address_check(options->to, false)) &&
	    (!options->listen || !address_check(options->listen, true)) &&
	    (!moves || !priority_take(&options->priority)))
		return;
	fprintf(stderr, "migrate-fast: %s\n", fail_text());
	exit(EXIT_USAGE);
}

int main(int argc, char **argv)
{
	struct options options = {
		.max_downtime = 50,
		.downtime_limit = 1000,
		.max_rounds = 30,
		.timeout = 10000,
		.linger = 3600,
		.store = STORE_DIR,
	};
	char name[32];
	size_t i;

	argp_err_exit_status = EXIT_USAGE;
	if (argc > 1 && !strcmp(argv[1], "--help")) {
		usage(stdout);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--version")) {
		puts(argp_program_version);
		return 0;
	}
	for (i = 0; argc > 1 && i < NR_COMMANDS; i++) {
		const struct command *command = &commands[i];

		if (strcmp(argv[1], command->name))
			continue;
		snprintf(name, sizeof(name), "migrate-fast %s", command->name);
		argv[1] = name;
		argp_parse(&command->argp, argc - 1, argv + 1, 0, NULL,
			   &options);
		require(command, &options);
		prepare(command, &options);
		say_set(options.json);
		loop_signals();
		return command->run(&options);
	}
	if (argc > 1 && !strcmp(argv[1], "store")) {
		loop_signals();
		return store_main(argc - 1, argv + 1);
	}
	if (argc > 1)
		fprintf(stderr, "migrate-fast: \"%s\" is no command\n", argv[1]);
	usage(stderr);
	return EXIT_USAGE;
}
