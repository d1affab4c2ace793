// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mf_guest.h"

/*
 * The guest's programs. They run at guest address 0 and take their arguments
 * in registers, so that no program writes memory but by its one store.
 */
asm(".pushsection .rodata\n"
	".code32\n"
	".globl mf_guest_code, mf_guest_code_load\n"
	".globl mf_guest_code_load_out\n"
	".globl mf_guest_code_scatter, mf_guest_code_end\n"
	"mf_guest_code:\n"
	"	movl %eax, (%edi)\n"
	"	hlt\n"
	"mf_guest_code_load:\n"
	"	movl (%edi), %eax\n"
	"	hlt\n"
	/* With an interrupt controller in the kernel nobody hears of a halt. */
	"mf_guest_code_load_out:\n"
	"	movl (%edi), %eax\n"
	"	outb %al, $16\n"
	"mf_guest_code_scatter:\n"
	"1:	imull $1664525, %ebx, %ebx\n"
	"	addl $1013904223, %ebx\n"
	"	movl %ebx, %ecx\n"
	"	shrl $5, %ecx\n"
	"	andl %edx, %ecx\n"
	"	movl %ebx, (%edi, %ecx)\n"
	"	movl %eax, %ecx\n"
	"	jecxz 3f\n"
	"2:	decl %ecx\n"
	"	jnz 2b\n"
	"3:	decl %esi\n"
	"	jnz 1b\n"
	"	hlt\n"
	"mf_guest_code_end:\n"
	".code64\n"
	".popsection\n");

static int flat_mode(int vcpu)
{
	struct kvm_segment flat = {
		.limit = 0xffffffff, .present = 1, .db = 1, .s = 1, .g = 1,
		.selector = 8, .type = 11,
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cr0 |= 1;
	sregs.cs = flat;
	flat.type = 3;
	flat.selector = 16;
	sregs.ds = flat;
	sregs.es = flat;
	sregs.fs = flat;
	sregs.gs = flat;
	sregs.ss = flat;
	return ioctl(vcpu, KVM_SET_SREGS, &sregs) ? -errno : 0;
}

static int set_slot(int vm, int slot, __u64 gpa, void *memory, size_t bytes)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)memory,
	};

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

static int guest_open(struct mf_guest *guest, void *ram, size_t bytes,
		      bool irqchip)
{
	int rc;

	memset(guest, 0, sizeof(*guest));
	guest->irqchip = irqchip;
	if (access("/dev/kvm", F_OK)) {
		mf_modprobe("kvm-amd", NULL);
		mf_modprobe("kvm-intel", NULL);
	}
	guest->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (guest->kvm < 0)
		return -ENODEV;
	guest->vm = ioctl(guest->kvm, KVM_CREATE_VM, 0);
	if (guest->vm < 0)
		return -errno;
	ioctl(guest->vm, KVM_SET_TSS_ADDR, 0xfffbd000UL);
	if (irqchip && ioctl(guest->vm, KVM_CREATE_IRQCHIP, 0))
		return -errno;
	guest->code = mmap(NULL, MF_PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(guest->code, mf_guest_code, mf_guest_code_end - mf_guest_code);
	rc = set_slot(guest->vm, 0, 0, guest->code, MF_PAGE);
	if (!rc)
		rc = set_slot(guest->vm, 1, MF_GUEST_RAM, ram, bytes);
	if (rc)
		return rc;
	guest->vcpu = ioctl(guest->vm, KVM_CREATE_VCPU, 0);
	if (guest->vcpu < 0)
		return -errno;
	guest->run_bytes = ioctl(guest->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	guest->run = mmap(NULL, guest->run_bytes, PROT_READ | PROT_WRITE,
			  MAP_SHARED, guest->vcpu, 0);
	if (guest->run == MAP_FAILED)
		return -errno;
	return flat_mode(guest->vcpu);
}

int mf_guest_open(struct mf_guest *guest, void *ram, size_t bytes)
{
	return guest_open(guest, ram, bytes, false);
}

int mf_guest_open_irqchip(struct mf_guest *guest, void *ram, size_t bytes)
{
	return guest_open(guest, ram, bytes, true);
}

void mf_guest_close(struct mf_guest *guest)
{
	if (guest->run)
		munmap(guest->run, guest->run_bytes);
	close(guest->vcpu);
	close(guest->vm);
	close(guest->kvm);
	munmap(guest->code, MF_PAGE);
}

static void wake(int sig)
{
}

void mf_guest_stop(struct mf_guest *guest, pthread_t thread)
{
	struct sigaction action = { .sa_handler = wake };

	guest->stop = true;
	sigaction(SIGUSR1, &action, NULL);
	pthread_kill(thread, SIGUSR1);
}

/* For a test that is to fail: what its guest is doing. */
static void tell(struct mf_guest *guest)
{
	const __u8 *code = guest->code;
	struct kvm_regs regs = {};
	int i;

	ioctl(guest->vcpu, KVM_GET_REGS, &regs);
	fprintf(stderr, "# guest: rip %llx rdi %llx rcx %llx rdx %llx rsi %llx rbx %llx, exit %u; code",
		regs.rip, regs.rdi, regs.rcx, regs.rdx, regs.rsi, regs.rbx,
		guest->run->exit_reason);
	for (i = 0; i < mf_guest_code_end - mf_guest_code; i++)
		fprintf(stderr, " %02x", code[i]);
	fprintf(stderr, "\n");
}

static int run(struct mf_guest *guest, const char *code, struct kvm_regs *regs)
{
	regs->rip = code - mf_guest_code;
	regs->rflags = guest->irqchip ? 0x202 : 2;
	if (ioctl(guest->vcpu, KVM_SET_REGS, regs))
		return -errno;
	while (ioctl(guest->vcpu, KVM_RUN, 0)) {
		if (errno != EINTR)
			return -errno;
		if (guest->stop) {
			tell(guest);
			return -EINTR;
		}
	}
	if (guest->run->exit_reason !=
	    (guest->irqchip ? KVM_EXIT_IO : KVM_EXIT_HLT)) {
		tell(guest);
		return -EIO;
	}
	return ioctl(guest->vcpu, KVM_GET_REGS, regs) ? -errno : 0;
}

int mf_guest_store(struct mf_guest *guest, size_t offset, __u32 value)
{
	struct kvm_regs regs = {
		.rdi = MF_GUEST_RAM + offset, .rax = value,
	};

	return run(guest, mf_guest_code, &regs);
}

int mf_guest_load(struct mf_guest *guest, size_t offset, __u32 *value)
{
	struct kvm_regs regs = { .rdi = MF_GUEST_RAM + offset };
	int rc = run(guest, guest->irqchip ? mf_guest_code_load_out :
		     mf_guest_code_load, &regs);

	*value = regs.rax;
	return rc;
}

int mf_guest_work(struct mf_guest *guest, size_t offset, size_t bytes,
		  __u32 count, __u32 seed, __u32 between)
{
	struct kvm_regs regs = {
		.rdi = MF_GUEST_RAM + offset,
		.rdx = (bytes - 1) & ~3UL,
		.rbx = seed,
		.rsi = count,
		.rax = between / 2,
	};

	return run(guest, mf_guest_code_scatter, &regs);
}

int mf_guest_scatter(struct mf_guest *guest, size_t offset, size_t bytes,
		     __u32 count, __u32 seed)
{
	return mf_guest_work(guest, offset, bytes, count, seed, 0);
}
