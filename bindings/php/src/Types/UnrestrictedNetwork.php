<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * A network policy: everything may be reached.
 */
final class UnrestrictedNetwork extends Model
{
    public const TYPE = 'unrestricted';

    /** Always "unrestricted". */
    public readonly string $type;
}
