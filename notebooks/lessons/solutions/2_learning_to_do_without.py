# %% exercise-1
faces, emotions = 5, 8  # one emotion of each face can be named right
ceiling = 100 * faces / emotions


# %% exercise-2
def hard(audio, video):
    nothing = torch.zeros_like(audio), torch.zeros_like(video)
    return torch.cat([audio, nothing[0], audio]), torch.cat([video, video, nothing[1]])
