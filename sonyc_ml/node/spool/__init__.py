"""The folder that is watched: which recordings in it are finished."""
