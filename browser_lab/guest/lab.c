/* What the VM runs beside BusyBox. Built on the kernel's own nolibc: no library, 32-bit, static.
 *
 *   lab beat NAME                  print "@beat NAME" four times a second
 *   lab start process|container N  N times: print "@go", start one, which prints "@byte"
 *   lab container NAME PROGRAM...  run PROGRAM in a container, until it ends
 *   lab seed WORDS                 mix WORDS into the kernel's random numbers, and use them at once
 */
#include <linux/sched.h>

#define MNT_DETACH 2
#define RNDRESEEDCRNG 0x5207
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET)

static char *const ENVIRONMENT[] = {"PATH=/bin", "HOME=/root", "TERM=dumb", NULL};

static void fail(const char *what)
{
	printf("lab: %s: error %d\n", what, errno);
	exit(1);
}

static void say(const char *line)
{
	write(1, line, strlen(line)); /* one call, so that lines of two programs never mix */
}

static void put(const char *folder, const char *name, const char *text)
{
	char path[128];
	int file;

	strlcpy(path, folder, sizeof(path));
	strlcat(path, name, sizeof(path));
	file = open(path, O_WRONLY);
	if (file < 0 || write(file, text, strlen(text)) < 0)
		fail(path);
	close(file);
}

static void folder(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		fail(path);
}

/* The child's part: join the control group, get a root of its own, become the program. */
static void contained(const char *name, const char *group, const char *place, char **argv)
{
	char layers[256], parts[3][128];
	const char *const of[] = {"/up", "/work", "/root"};
	int i;

	put(group, "/cgroup.procs", "0");
	for (i = 0; i < 3; i++) {
		strlcpy(parts[i], place, sizeof(parts[i]));
		strlcat(parts[i], of[i], sizeof(parts[i]));
		folder(parts[i]);
	}
	strlcpy(layers, "lowerdir=/img,upperdir=", sizeof(layers));
	strlcat(layers, parts[0], sizeof(layers));
	strlcat(layers, ",workdir=", sizeof(layers));
	strlcat(layers, parts[1], sizeof(layers));
	if (mount("none", "/", "", MS_REC | MS_PRIVATE, NULL) < 0)
		fail("private mounts");
	if (mount(name, parts[2], "overlay", 0, layers) < 0)
		fail("overlay");
	if (chdir(parts[2]) < 0 || mount("proc", "proc", "proc", 0, NULL) < 0)
		fail("proc");
	put("proc/sys/kernel", "/hostname", name);
	if (pivot_root(".", "old") < 0 || chdir("/") < 0 || umount2("/old", MNT_DETACH) < 0)
		fail("pivot_root");
	execve(argv[0], argv, ENVIRONMENT);
	fail(argv[0]);
}

/* Returns the pid of the container's first program, as the VM counts. */
static int container(const char *name, char **argv)
{
	char group[64] = "/sys/fs/cgroup/", place[64] = "/run/";
	int child;

	strlcat(group, name, sizeof(group));
	strlcat(place, name, sizeof(place));
	folder(group);
	folder(place);
	put(group, "/memory.max", "8388608");
	put(group, "/pids.max", "16");
	child = my_syscall5(__NR_clone, NAMESPACES | SIGCHLD, 0, 0, 0, 0);
	if (child == 0)
		contained(name, group, place, argv);
	return child;
}

static int process(char **argv)
{
	int child = fork();

	if (child == 0) {
		execve(argv[0], argv, ENVIRONMENT);
		fail(argv[0]);
	}
	return child;
}

static void start(int contained, int times)
{
	char *argv[] = {"/bin/lab", "byte", NULL};
	char name[16], group[64];
	int child, i;

	for (i = 0; i < times; i++) {
		strlcpy(name, "trial", sizeof(name));
		strlcat(name, itoa(getpid() * 100 + i), sizeof(name));
		say("@go\n");
		child = contained ? container(name, argv) : process(argv);
		if (child < 0)
			fail("start");
		waitpid(child, NULL, 0);
		if (contained) {
			strlcpy(group, "/sys/fs/cgroup/", sizeof(group));
			strlcat(group, name, sizeof(group));
			my_syscall1(__NR_rmdir, group);
		}
	}
}

static void beat(const char *name)
{
	char line[64] = "@beat ";

	strlcat(line, name, sizeof(line));
	strlcat(line, "\n", sizeof(line));
	for (;;) {
		say(line);
		msleep(250);
	}
}

static void seed(const char *words)
{
	int file = open("/dev/urandom", O_RDWR);

	write(file, words, strlen(words));
	if (ioctl(file, RNDRESEEDCRNG, NULL) < 0)
		fail("seed");
}

int main(int argc, char **argv)
{
	const char *task = argc > 1 ? argv[1] : "";
	int child;

	if (!strcmp(task, "byte"))
		say("@byte\n");
	else if (!strcmp(task, "beat") && argc > 2)
		beat(argv[2]);
	else if (!strcmp(task, "start") && argc > 3)
		start(!strcmp(argv[2], "container"), atoi(argv[3]));
	else if (!strcmp(task, "seed") && argc > 2)
		seed(argv[2]);
	else if (!strcmp(task, "container") && argc > 3) {
		child = container(argv[2], argv + 3);
		if (child < 0)
			fail("container");
		waitpid(child, NULL, 0);
	} else
		fail("no such task");
	return 0;
}
