# Two buckets, in two regions, that keep every version of a repository of pgark.

data "aws_caller_identity" "current" {
  provider = aws.primary
}

data "aws_partition" "current" {
  provider = aws.primary
}

data "aws_region" "primary" {
  provider = aws.primary
}

data "aws_region" "copy" {
  provider = aws.copy
}

locals {
  places = {
    primary = var.primary_bucket
    copy    = var.copy_bucket
  }
  lock       = var.lock_mode == "none" ? "" : "-${var.lock_mode}"
  replicated = var.copy_by == "bucket" ? "-replicated" : ""
  removing   = var.remove_versions ? "-removing" : ""

  # The documents that `pgark repo policy` prints, with names in the place of values. They are made by a test of pgark, and never by hand.
  documents = {
    for place, bucket in local.places : place => jsondecode(templatefile("${path.module}/policies.json.tftpl", {
      partition = data.aws_partition.current.partition
      bucket    = bucket
      prefix    = var.prefix
      lock_days = var.lock_days
    }))
  }
}

module "primary" {
  source    = "./modules/bucket"
  providers = { aws = aws.primary }

  bucket          = var.primary_bucket
  prefix          = var.prefix
  policy          = jsonencode(local.documents["primary"]["bucket"])
  lock_mode       = var.lock_mode
  lock_days       = var.lock_days
  noncurrent_days = var.noncurrent_days
  tags            = var.tags
}

module "copy" {
  source    = "./modules/bucket"
  providers = { aws = aws.copy }

  bucket          = var.copy_bucket
  prefix          = var.prefix
  policy          = jsonencode(local.documents["copy"]["bucket"])
  lock_mode       = var.lock_mode
  lock_days       = var.lock_days
  noncurrent_days = var.noncurrent_days
  archive         = var.archive
  tags            = var.tags
}
