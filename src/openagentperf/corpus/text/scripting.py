"""Grammars of Python, JavaScript, TypeScript, Ruby, PHP, shell and SQL."""
# ruff: noqa: E501, ISC004 - templates are data: a literal broken at 140 characters would hide the lines that it makes

from __future__ import annotations

from openagentperf.corpus.text.grammar import Language

PYTHON = Language(
    name="python", extension="py", case="snake", folders=("src/app", "src/app/core", "src/app/io", "tests"), runner="python -m pytest -x -q",
    heads=(
        '"""@w@."""\n\nfrom __future__ import annotations\n\nimport logging\nfrom dataclasses import dataclass, field\n\nfrom app.@p@ import @t@\n',
        "import json\nfrom collections.abc import Iterable, Iterator\nfrom pathlib import Path\n\nfrom .@p@ import @f@, @g@\n\n@k@ = @n@\n",
    ),
    blocks=(
        'def @f@(@a@: @t@, @b@: int = @n@) -> @u@ | None:\n    """@w@."""\n    @body@\n    return @c@\n\n',
        "@dataclass(frozen=True)\nclass @t@:\n    @a@: int\n    @b@: str = \"@p@\"\n    @c@: list[@u@] = field(default_factory=list)\n\n"
        "    def @f@(self, @d@: float) -> bool:\n        @body@\n        return self.@a@ > @n@\n\n",
        "def test_@f@(tmp_path: Path) -> None:\n    @a@ = @t@(@n@, \"@s@\")\n    @body@\n    assert @a@.@b@ == @n@\n\n",
        "class @t@(@u@):\n    def __init__(self, @a@, @b@=None):\n        super().__init__(@a@)\n        self._@b@ = @b@ or {}\n\n"
        "    def @f@(self):\n        @body@\n\n    async def @g@(self, @c@):\n        @body@\n        return @c@\n\n",
    ),
    statements=(
        "@c@ = @f@(@a@, @n@)", "if @a@ is None:\n    raise ValueError(\"@s@\")", "for @d@ in @b@.@f@():\n    @c@.append(@d@.@p@)",
        "# @w@", "with @t@.@f@(@a@) as @d@:\n    @b@ = @d@[@n@]", "logger.debug(\"@s@: %s\", @a@)",
        "try:\n    @c@ = self.@f@(@b@)\nexcept KeyError as error:\n    raise @t@Error(f\"@s@: {@b@}\") from error",
        "@a@ = {@d@.key: @d@ for @d@ in @b@ if @d@.@p@ != @n@}", "return @f@(@g@(@a@), @b@=@b@)", "@d@ = sorted(@a@, key=lambda item: item.@p@)",
    ),
)  # fmt: skip

JAVASCRIPT = Language(
    name="javascript", extension="js", case="camel", folders=("lib", "lib/util", "src/routes", "test"), runner="npm test --silent",
    heads=("'use strict';\n\nconst fs = require('node:fs');\nconst { @f@, @g@ } = require('./@p@');\n\nconst @k@ = @n@;\n",
           "import express from 'express';\nimport @t@ from '../@p@.js';\n\nconst router = express.Router();\n"),
    blocks=(
        "function @f@(@a@, @b@ = @n@) {\n  @body@\n  return @c@;\n}\n\n",
        "router.get('/@p@/:id', async (req, res, next) => {\n  const @a@ = req.params.id;\n  @body@\n  res.json({ @a@, @b@ });\n});\n\n",
        "describe('@t@', () => {\n  it('@s@', async () => {\n    const @a@ = new @t@({ @b@: @n@ });\n    @body@\n    expect(@a@.@c@).toBe(@n@);\n  });\n});\n\n",
        "class @t@ extends @u@ {\n  constructor(@a@) {\n    super();\n    this.@a@ = @a@;\n  }\n\n  async @f@(@b@) {\n    @body@\n  }\n}\n\nmodule.exports = { @t@ };\n\n",
    ),
    statements=(
        "const @c@ = await @f@(@a@, @n@);", "if (!@a@) {\n  throw new Error('@s@');\n}", "for (const @d@ of @b@) {\n  @c@.push(@d@.@p@);\n}", "// @w@",
        "const { @a@, ...@d@ } = @f@(@b@);", "@b@.forEach((@d@) => @g@(@d@, @n@));", "console.warn(`@s@: ${@a@}`);",
        "@c@ = @a@.filter((@d@) => @d@.@p@ > @n@).map(@f@);", "return Promise.all(@a@.map((@d@) => this.@g@(@d@)));",
        "try {\n  @f@(@a@);\n} catch (err) {\n  next(err);\n}",
    ),
)  # fmt: skip

TYPESCRIPT = Language(
    name="typescript", extension="ts", case="camel", folders=("src", "src/services", "src/components", "src/__tests__"), runner="npx vitest run",
    heads=("import { @f@, type @t@ } from './@p@';\nimport type { @u@ } from '../types';\n\nexport const @k@ = @n@ as const;\n",
           "import { describe, expect, it } from 'vitest';\n\nimport { @t@ } from '../@p@';\n"),
    blocks=(
        "export async function @f@(@a@: @t@, @b@?: number): Promise<@u@[]> {\n  @body@\n  return @c@;\n}\n\n",
        "export interface @t@ {\n  readonly @a@: string;\n  @b@?: @u@;\n  @c@: Record<string, number>;\n  @f@(@d@: number): void;\n}\n\n",
        "export class @t@ implements @u@ {\n  private readonly @a@ = new Map<string, @u@>();\n\n  constructor(private @b@: number = @n@) {}\n\n"
        "  @f@(@c@: string): @u@ | undefined {\n    @body@\n    return this.@a@.get(@c@);\n  }\n}\n\n",
        "describe('@f@', () => {\n  it('@s@', () => {\n    const @a@: @t@ = { @b@: @n@, @c@: '@p@' };\n    @body@\n    expect(@f@(@a@)).toEqual([@n@]);\n  });\n});\n\n",
    ),
    statements=(
        "const @c@: @t@ = await this.@f@(@a@);", "if (@a@ === undefined) {\n  throw new @t@Error('@s@', { cause: @b@ });\n}", "// @w@",
        "for (const [@d@, value] of Object.entries(@b@)) {\n  @c@.set(@d@, value as @t@);\n}", "const @d@ = @a@?.@p@ ?? @n@;",
        "@b@ = @a@.reduce((sum, @d@) => sum + @d@.@p@, @n@);", "type @t@Key = keyof typeof @a@;", "return { ...@a@, @p@: @f@(@b@) };",
        "switch (@a@.kind) {\n  case '@p@':\n    return @f@(@b@);\n  default:\n    @g@(@a@);\n}", "logger.info({ @a@, count: @n@ }, '@s@');",
    ),
)  # fmt: skip

RUBY = Language(
    name="ruby", extension="rb", case="snake", folders=("app/models", "app/services", "lib", "spec"), runner="bundle exec rspec",
    heads=("# frozen_string_literal: true\n\nrequire 'json'\nrequire_relative '@p@'\n",),
    blocks=(
        "module @t@\n  @k@ = @n@\n\n  def self.@f@(@a@, @b@: nil)\n    @body@\n  end\nend\n\n",
        "class @t@ < ApplicationRecord\n  belongs_to :@p@\n  has_many :@a@s, dependent: :destroy\n  validates :@b@, presence: true\n\n  def @f@\n    @body@\n  end\nend\n\n",
        "RSpec.describe @t@ do\n  let(:@a@) { described_class.new(@b@: @n@) }\n\n  it '@s@' do\n    @body@\n    expect(@a@.@c@).to eq(@n@)\n  end\nend\n\n",
        "class @t@\n  attr_reader :@a@, :@b@\n\n  def initialize(@a@, @b@ = @n@)\n    @@a@ = @a@\n    @@b@ = @b@\n  end\n\n  private\n\n  def @f@(@c@)\n    @body@\n  end\nend\n\n",
    ),
    statements=(
        "@c@ = @f@(@a@, @n@)", "raise ArgumentError, '@s@' if @a@.nil?", "@b@.each do |@d@|\n  @c@ << @d@.@p@\nend", "# @w@",
        "@d@ = @a@.map(&:@p@).reject { |x| x > @n@ }", "return unless @b@.@f@?", "logger.info(\"@s@: #{@a@}\")", "@c@ ||= @t@.find_by(@p@: @a@)",
        "begin\n  @f@(@b@)\nrescue KeyError => e\n  warn e.message\nend",
    ),
)  # fmt: skip

PHP = Language(
    name="php", extension="php", case="camel", folders=("src", "src/Service", "src/Entity", "tests"), runner="vendor/bin/phpunit",
    heads=("<?php\n\ndeclare(strict_types=1);\n\nnamespace App\\Service;\n\nuse App\\Entity\\@t@;\nuse App\\Entity\\@u@;\n",),
    blocks=(
        "final class @t@\n{\n    public function __construct(\n        private readonly @u@ $@a@,\n        private int $@b@ = @n@,\n    ) {\n    }\n\n"
        "    public function @f@(array $@c@): ?@u@\n    {\n        @body@\n        return $@a@;\n    }\n}\n\n",
        "function @f@(string $@a@, int $@b@ = @n@): array\n{\n    @body@\n    return [$@a@ => $@b@];\n}\n\n",
        "    /**\n     * @w@.\n     */\n    public function test@t@(): void\n    {\n        $@a@ = new @t@(@n@);\n        @body@\n        $this->assertSame(@n@, $@a@->@f@());\n    }\n\n",
    ),
    statements=(
        "$@c@ = $this->@f@($@a@, @n@);", "if ($@a@ === null) {\n    throw new \\RuntimeException('@s@');\n}", "foreach ($@b@ as $@d@) {\n    $@c@[] = $@d@->@f@();\n}",
        "// @w@", "$@d@ = array_filter($@a@, fn ($x) => $x > @n@);", "return $this->@g@($@b@);", "$this->logger->warning('@s@', ['@p@' => $@a@]);",
    ),
)  # fmt: skip

SHELL = Language(
    name="shell", extension="sh", case="snake", folders=("scripts", "bin", "ci", "test"), runner="bats test",
    heads=("#!/usr/bin/env bash\n# @w@\nset -euo pipefail\n\n@k@=${@k@:-@n@}\n",),
    blocks=(
        "@f@() {\n  local @a@=$1 @b@=${2:-@n@}\n  @body@\n}\n\n",
        "while IFS= read -r @a@; do\n  @body@\ndone < \"$@b@\"\n\n",
        "case \"${1:-}\" in\n  @p@)\n    @body@\n    ;;\n  *)\n    echo \"usage: $0 @p@\" >&2\n    exit 2\n    ;;\nesac\n\n",
    ),
    statements=(
        "@c@=$(@f@ \"$@a@\" @n@)", "if [[ -z \"$@a@\" ]]; then\n  echo \"@s@\" >&2\n  return 1\nfi", "for @d@ in \"${@b@[@]}\"; do\n  @g@ \"$@d@\"\ndone", "# @w@",
        "find . -name '*.@p@' -newer \"$@a@\" -print0 | xargs -0 -n @n@ grep -l \"$@b@\"", "mkdir -p \"$@a@/@p@\"", "trap 'rm -rf \"$@a@\"' EXIT",
        "awk -F, -v n=@n@ '$3 > n { print $1 }' \"$@a@\" | sort -u > \"$@b@\"", "curl -fsS --retry @n@ \"$@c@/@p@\" -o \"$@a@\"",
    ),
)  # fmt: skip

SQL = Language(
    name="sql", extension="sql", case="snake", folders=("migrations", "queries", "schema", "tests"), runner="pg_prove tests",
    heads=("-- @w@\nBEGIN;\nSET LOCAL statement_timeout = '@n@s';\n",),
    blocks=(
        "CREATE TABLE @a@ (\n    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n    @b@ text NOT NULL DEFAULT '@p@',\n    @c@ numeric(12, 2) CHECK (@c@ >= @n@),\n"
        "    created_at timestamptz NOT NULL DEFAULT now()\n);\n\nCREATE INDEX @a@_@b@_idx ON @a@ (@b@) WHERE @c@ > @n@;\n\n",
        "SELECT @a@.id, @a@.@b@, count(*) AS @c@, avg(@d@.value) FILTER (WHERE @d@.kind = '@p@')\nFROM @a@\nJOIN @d@ ON @d@.@a@_id = @a@.id\n"
        "WHERE @a@.created_at > now() - interval '@n@ days'\nGROUP BY 1, 2\nHAVING count(*) > @n@\nORDER BY @c@ DESC\nLIMIT @n@;\n\n",
        "CREATE OR REPLACE FUNCTION @f@(@a@ bigint, @b@ text)\nRETURNS integer LANGUAGE plpgsql AS $$\nDECLARE\n    @c@ integer := @n@;\nBEGIN\n    @body@\n    RETURN @c@;\nEND;\n$$;\n\n",
        "ALTER TABLE @a@ ADD COLUMN @b@ jsonb;\nUPDATE @a@ SET @b@ = jsonb_build_object('@p@', @c@) WHERE @c@ IS NOT NULL;\nCOMMENT ON COLUMN @a@.@b@ IS '@w@';\n\n",
    ),
    statements=(
        "SELECT count(*) INTO @c@ FROM @a@ WHERE @b@ = '@p@';", "IF @c@ > @n@ THEN\n    RAISE EXCEPTION '@s@';\nEND IF;", "-- @w@",
        "UPDATE @a@ SET @b@ = @b@ + @n@ WHERE id = @d@;", "DELETE FROM @a@ USING @d@ WHERE @d@.@p@_id = @a@.id;", "PERFORM @f@(@c@, '@p@');",
        "INSERT INTO @a@ (@b@, @d@) VALUES (@n@, '@s@')\nON CONFLICT (@b@) DO UPDATE SET @d@ = excluded.@d@;",
    ),
)  # fmt: skip

SCRIPTING = (PYTHON, JAVASCRIPT, TYPESCRIPT, RUBY, PHP, SHELL, SQL)
