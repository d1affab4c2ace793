/* SPDX-License-Identifier: GPL-2.0 */
/* Can this VM be moved, as it is and as it was started? */
#ifndef SURVEY_H
#define SURVEY_H

struct problems;
struct vm;

/* Opens the RAM files; adds to @problems what is in the way of migration. */
int survey(struct vm *vm, struct problems *problems);
/* survey(), and failure if there is any problem. */
int survey_need_ready(struct vm *vm);
/* What others may have done to it since then, likewise: asks QEMU again. */
int survey_need_same(struct vm *vm);
int survey_again(struct vm *vm, struct problems *problems);

#endif /* SURVEY_H */
