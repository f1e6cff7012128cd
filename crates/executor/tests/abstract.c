/* Connects to an abstract socket of the host and to one of its own, and moves a file from one directory to another; prints
   the error number of each. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int abstract_socket(const char *name, struct sockaddr_un *address, socklen_t *length)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	strncpy(address->sun_path + 1, name, sizeof(address->sun_path) - 2);
	*length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int reach(const char *name)
{
	struct sockaddr_un address;
	socklen_t length;
	int fd = abstract_socket(name, &address, &length);
	return connect(fd, (struct sockaddr *)&address, length) == 0 ? 0 : errno;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address;
	socklen_t length;
	int own = abstract_socket("cooper-step-own", &address, &length);
	if (argc < 2 || bind(own, (struct sockaddr *)&address, length) != 0 || listen(own, 1) != 0)
		return 2;
	mkdir("/tmp/a", 0755);
	mkdir("/tmp/b", 0755);
	fclose(fopen("/tmp/a/f", "w"));
	int moved = rename("/tmp/a/f", "/tmp/b/f") == 0 ? 0 : errno;
	printf("host %d, own %d, moved %d\n", reach(argv[1]), reach("cooper-step-own"), moved);
	return 0;
}
