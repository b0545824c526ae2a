# %% exercise-1
disagreeing = attended.corrwith(scored, axis=1, method="spearman").idxmin()


# %% exercise-2
def smallest_mask(flips, steps):
    masks = [(first, last) for first in range(steps) for last in range(first, steps)]
    return min((mask for mask in masks if flips(*mask)), key=lambda mask: mask[1] - mask[0])
