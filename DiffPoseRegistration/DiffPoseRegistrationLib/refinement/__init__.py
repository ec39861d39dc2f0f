"""From a pose nearby to the pose: similarity, optimisers, schedule, doubt."""
