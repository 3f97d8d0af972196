<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The result of deleting an environment.
 */
final class EnvironmentDeleted extends Model
{
    public const TYPE = 'environment_deleted';

    /** The environment's identifier. */
    public readonly string $id;

    /** Always "environment_deleted". */
    public readonly string $type;
}
