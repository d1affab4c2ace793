/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How fast a VM writes, with reuse: distinct pages written within a time.
 *
 * The writable working sets of Clark et al. (NSDI 2005, section 3) as a curve
 * W(t): a page that is written again and again counts once, so the curve rises
 * steeply at first and bends towards the set of pages that the VM writes at
 * all. It costs next to nothing: the pages that are dirty t after a harvest
 * only have to be counted. Pure logic.
 *
 * W(t) / t falls, or stays: in a part of a while a VM writes on average at
 * least that part of the pages which it writes in all of it. But it is slow,
 * or stands still, when a round begins and each first write to a page has to
 * be noticed. What is counted early in a round is raised to that part of what
 * is counted later in it, lest such a VM be taken for one that writes little.
 *
 * From it follows what rounds of copying will do. A round that has n pages to
 * send takes n x cost, and leaves W(n x cost): done again and again this
 * shrinks to nothing, or it gets stuck where W(t) x cost = t.
 */
#ifndef CURVE_H
#define CURVE_H

#include <stdbool.h>
#include <stdint.h>

/* The first look at a round, ms; each later one at twice the distance. */
#define CURVE_FIRST_MS	50
#define CURVE_POINTS	20

/**
 * struct curve_point - so many pages were dirty so long after a harvest
 * @ms: time since the harvest; 0: nobody has looked
 * @pages: distinct pages written since
 * @round: harvests before that
 */
struct curve_point {
	double ms, pages;
	unsigned int round;
};

/**
 * struct curve - what is known of W(t)
 * @points: point i lies CURVE_FIRST_MS x 2^i after the harvest, or later, but
 *	before the next one. What a later round measures replaces what an
 *	earlier one has measured at that distance
 * @next: the point that is due next in this round
 * @round: harvests so far
 */
struct curve {
	struct curve_point points[CURVE_POINTS];
	unsigned int next, round;
};

/**
 * struct course - what rounds will do
 * @rounds: rounds until few enough pages are left, or until there is no gain
 * @pages: pages sent in them
 * @left: pages left after the last of them
 */
struct course {
	unsigned int rounds;
	double pages, left;
};

/**
 * curve_harvested() - a harvest was made: distances count from here
 * @curve: a curve; zeroed before the first harvest
 */
void curve_harvested(struct curve *curve);

/**
 * curve_due() - is it time to count dirty pages?
 * @curve: the curve
 * @ms: time since the harvest
 */
bool curve_due(const struct curve *curve, double ms);

/**
 * curve_add() - pages were counted
 * @curve: the curve
 * @ms: time since the harvest
 * @pages: so many were dirty
 */
void curve_add(struct curve *curve, double ms, uint64_t pages);

/**
 * curve_is_new() - was this point measured in this round?
 * @curve: the curve
 * @i: number of the point
 */
bool curve_is_new(const struct curve *curve, unsigned int i);

/**
 * curve_points() - how many points are known
 * @curve: the curve
 */
unsigned int curve_points(const struct curve *curve);

/**
 * curve_at() - W(t)
 * @curve: the curve
 * @ms: t. Between two points a straight line is taken, also between the origin
 *	and the first; behind the last one, the line through the last two
 */
double curve_at(const struct curve *curve, double ms);

/**
 * curve_follow() - what would more rounds do?
 * @curve: the curve
 * @cost: ms that it takes to send a page
 * @pages: pages that the first of these rounds has to send
 * @enough: pages so few that no more rounds are needed
 * @rounds: rounds to think ahead, at most
 *
 * That hot pages are postponed in a round, which makes it shorter, is left out
 * of account: things go slightly better than foretold.
 */
struct course curve_follow(const struct curve *curve, double cost,
			   double pages, double enough, unsigned int rounds);

#endif /* CURVE_H */
