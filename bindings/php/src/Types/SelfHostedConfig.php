<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The configuration of an environment on hosts of one's own.
 */
final class SelfHostedConfig extends Model
{
    public const TYPE = 'self_hosted';

    /** Always "self_hosted". */
    public readonly string $type;
}
