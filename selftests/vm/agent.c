// SPDX-License-Identifier: GPL-2.0
/*
 * Command agent of the test bed: pid 1 of an emulated host, and of a guest.
 *
 * Serves TCP port 7000. A connection carries one request line:
 *
 *   run LENGTH TIMEOUT_MS [pty]	then LENGTH bytes of shell script
 *   connect unix PATH			relay bytes to a socket of this machine
 *   connect tcp ADDRESS PORT
 *
 * A script's life is told in frames "pid N", "out LENGTH" + bytes and at last
 * "exit CODE", "signal N" or "timeout 0". The client may send "kill SIGNAL",
 * "in LENGTH" + bytes and "eof". If the client goes away, the script's process
 * group is killed: nothing outlives the test that wanted it.
 *
 * "agent keep-vm" is another program: see keep_vm().
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PORT		7000
#define MAX_SCRIPT	(4 << 20)

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= n;
	}
	return 0;
}

static int read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= n;
	}
	return 0;
}

/* One byte at a time: requests are short, and nothing behind the line is eaten. */
static int read_line(int fd, char *line, size_t size)
{
	size_t len = 0;

	while (len < size - 1) {
		if (read_all(fd, line + len, 1))
			return -1;
		if (line[len] == '\n') {
			line[len] = '\0';
			return 0;
		}
		len++;
	}
	return -1;
}

__attribute__((format(printf, 2, 3)))
static int say(int fd, const char *format, ...)
{
	char line[256];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	return write_all(fd, line, len);
}

/* Pass on what can be read now. Returns 0 at the end of the stream. */
static int forward(int from, int to, int framed)
{
	static char data[65536];
	ssize_t n = read(from, data, sizeof(data));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 1;
	if (n <= 0)
		return 0;
	if (framed && say(to, "out %zd\n", n))
		return 0;
	return write_all(to, data, n) == 0;
}

struct command {
	pid_t	pid;
	int	pidfd;
	int	in;		/* the script's standard input, or -1 */
	int	out;
	int	pty;
};

static void start(struct command *cmd, char *script, int pty)
{
	int in[2], out[2];

	cmd->pty = pty;
	if (pty) {
		struct winsize size = { .ws_row = 24, .ws_col = 80 };

		cmd->pid = forkpty(&cmd->out, NULL, NULL, &size);
		cmd->in = cmd->out;
	} else {
		if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
			exit(1);
		cmd->pid = fork();
		cmd->in = in[1];
		cmd->out = out[0];
	}
	if (cmd->pid < 0)
		exit(1);
	if (!cmd->pid) {
		if (!pty) {
			setsid();
			dup2(in[0], 0);
			dup2(out[1], 1);
			dup2(out[1], 2);
		}
		signal(SIGPIPE, SIG_DFL);
		execl("/bin/sh", "sh", "-c", script, NULL);
		_exit(127);
	}
	if (!pty) {
		close(in[0]);
		close(out[1]);
	}
	fcntl(cmd->out, F_SETFL, O_NONBLOCK);
	cmd->pidfd = syscall(SYS_pidfd_open, cmd->pid, 0);
	if (cmd->pidfd < 0)
		exit(1);
}

static int client_frame(struct command *cmd, int sock)
{
	static char data[65536];
	char line[64];
	size_t len;
	int sig;

	if (read_line(sock, line, sizeof(line)))
		return -1;
	if (sscanf(line, "kill %d", &sig) == 1)
		return kill(-cmd->pid, sig), 0;
	if (sscanf(line, "in %zu", &len) == 1) {
		if (len > sizeof(data) || read_all(sock, data, len))
			return -1;
		/* A script that does not listen loses its input, no more. */
		if (cmd->in >= 0)
			(void)!write(cmd->in, data, len);
		return 0;
	}
	if (!strcmp(line, "eof") && !cmd->pty) {
		close(cmd->in);
		cmd->in = -1;
		return 0;
	}
	return -1;
}

static void run(int sock, size_t len, long long timeout, int pty)
{
	long long deadline = now_ms() + timeout;
	struct command cmd;
	struct pollfd fds[3];
	char *script;
	int status;

	script = len < MAX_SCRIPT ? malloc(len + 1) : NULL;
	if (!script || read_all(sock, script, len))
		return;
	script[len] = '\0';
	start(&cmd, script, pty);
	if (say(sock, "pid %d\n", cmd.pid))
		goto kill;

	fds[0] = (struct pollfd){ .fd = sock, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = cmd.pidfd, .events = POLLIN };
	fds[2] = (struct pollfd){ .fd = cmd.out, .events = POLLIN };
	for (;;) {
		long long left = deadline - now_ms();

		if (left <= 0) {
			kill(-cmd.pid, SIGKILL);
			waitpid(cmd.pid, &status, 0);
			forward(cmd.out, sock, 1);
			say(sock, "timeout 0\n");
			return;
		}
		if (poll(fds, 3, left > 60000 ? 60000 : left) < 0 && errno != EINTR)
			goto kill;
		if (fds[2].revents && !forward(cmd.out, sock, 1))
			fds[2].fd = -1;
		if (fds[0].revents && client_frame(&cmd, sock))
			goto kill;
		/* A daemon that the script left may hold the pipe for ever. */
		if (fds[1].revents)
			break;
	}
	waitpid(cmd.pid, &status, 0);
	for (;;) {
		struct pollfd rest = { .fd = cmd.out, .events = POLLIN };

		if (fds[2].fd < 0 || poll(&rest, 1, 0) <= 0 ||
		    !forward(cmd.out, sock, 1))
			break;
	}
	if (WIFSIGNALED(status))
		say(sock, "signal %d\n", WTERMSIG(status));
	else
		say(sock, "exit %d\n", WEXITSTATUS(status));
	return;
kill:
	kill(-cmd.pid, SIGKILL);
	waitpid(cmd.pid, &status, 0);
}

static int dial_unix(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -1 : fd;
}

static int dial_tcp(const char *host, int port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!inet_aton(host, &addr.sin_addr))
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -1 : fd;
}

static void relay(int sock, int peer)
{
	struct pollfd fds[2] = {
		{ .fd = sock, .events = POLLIN },
		{ .fd = peer, .events = POLLIN },
	};

	if (peer < 0) {
		say(sock, "error %s\n", strerror(errno));
		return;
	}
	say(sock, "ok\n");
	/* Half-closed either way: the other end learns it, and may still answer. */
	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[0].revents && !forward(sock, peer, 0)) {
			shutdown(peer, SHUT_WR);
			fds[0].fd = -1;
		}
		if (fds[1].revents && !forward(peer, sock, 0))
			return;
	}
}

static void serve(int sock)
{
	char line[512], mode[8] = "", path[108];
	long long timeout;
	size_t len;
	int port;

	if (read_line(sock, line, sizeof(line)))
		return;
	if (sscanf(line, "run %zu %lld %7s", &len, &timeout, mode) >= 2)
		run(sock, len, timeout, !strcmp(mode, "pty"));
	else if (sscanf(line, "connect unix %107s", path) == 1)
		relay(sock, dial_unix(path));
	else if (sscanf(line, "connect tcp %107s %d", path, &port) == 2)
		relay(sock, dial_tcp(path, port));
	else
		say(sock, "error bad request\n");
}

/*
 * Create an empty VM and hold it for ever. KVM patches the scheduler's code when
 * the first VM comes and when the last one goes (preempt_notifier_key). In QEMU
 * before 8.1 a processor may go on to run what it has translated while another
 * one patched it: the breakpoint of a patch that is long over. Both processors
 * then take it again and again in __schedule(), interrupts off, for good.
 */
static int keep_vm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (ioctl(kvm, KVM_CREATE_VM, 0) < 0 || daemon(0, 0)) {
		perror("agent: keep-vm");
		return 1;
	}
	for (;;)
		pause();
}

static void on_child(int sig)
{
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
	};
	struct sigaction child = { .sa_handler = on_child };
	int one = 1, listener, console;

	if (argc > 1 && !strcmp(argv[1], "keep-vm"))
		return keep_vm();

	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGCHLD, &child, NULL);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) ||
	    listen(listener, 64)) {
		perror("agent: port 7000");
		return 1;
	}
	/* The bed waits for this line on the serial console. */
	console = open("/dev/console", O_WRONLY | O_CLOEXEC | O_NOCTTY);
	say(console, "mf-agent: ready\n");

	for (;;) {
		struct pollfd fd = { .fd = listener, .events = POLLIN };
		int sock;

		/* As pid 1 it inherits orphans. */
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (poll(&fd, 1, 1000) <= 0)
			continue;
		sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (sock < 0)
			continue;
		if (!fork()) {
			signal(SIGCHLD, SIG_DFL);
			setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			serve(sock);
			_exit(0);
		}
		close(sock);
	}
}
