/* Makes the system calls a step may not make and prints the error number of each; knows no policy. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *name, long result) { printf("%s %d\n", name, result < 0 ? errno : 0); }

int main(void) {
	char room[128] = {0};
	say("unix", socket(AF_UNIX, SOCK_STREAM, 0));
	say("alg", socket(38, SOCK_SEQPACKET, 0));
	say("vsock", socket(40, SOCK_STREAM, 0));
	say("packet", socket(17, SOCK_RAW, 0));
	say("io_uring", syscall(425, 8, room));
	say("bpf", syscall(SYS_bpf, 0, room, sizeof room));
	say("userfaultfd", syscall(SYS_userfaultfd, 0));
	say("perf", syscall(SYS_perf_event_open, room, 0, -1, -1, 0));
	say("keyctl", syscall(SYS_keyctl, 0, -3, 0));
	say("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
	say("sti", ioctl(0, TIOCSTI, "x"));
	say("unshare-user", unshare(CLONE_NEWUSER));
	say("unshare-mount", unshare(CLONE_NEWNS));
	say("clone-user", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	say("clone3", syscall(435, room, 64));
	say("mount", mount("none", "/tmp", "tmpfs", 0, 0));
	say("umount", umount2("/proc", MNT_DETACH));
	say("fsopen", syscall(430, "tmpfs", 0));
	say("setns", setns(0, 0));
	say("by-handle", syscall(SYS_open_by_handle_at, 0, room, 0));
	say("mknod", mknod("/tmp/node", S_IFBLK | 0600, 0x800));
	say("chroot", chroot("/"));
	return 0;
}
